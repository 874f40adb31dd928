//! A tally's figures as data: a map of two sequences of `N` numbers.

use std::fmt;

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{Error, SeqAccess, Visitor},
    ser::SerializeTuple,
};

use super::TallyStats;

/// What is written and read in place of a [`TallyStats`].
#[derive(Serialize, Deserialize)]
struct Data<const N: usize> {
    own: Figures<N>,
    total: Figures<N>,
}

/// As many numbers as there are kinds, which serde knows for arrays of some lengths only.
struct Figures<const N: usize>([u64; N]);

impl<const N: usize> Serialize for TallyStats<N> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Data { own: Figures(self.own), total: Figures(self.total) }.serialize(serializer)
    }
}

impl<'de, const N: usize> Deserialize<'de> for TallyStats<N> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Data { own, total } = Data::deserialize(deserializer)?;
        Ok(Self { own: own.0, total: total.0 })
    }
}

impl<const N: usize> Serialize for Figures<N> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut tuple = serializer.serialize_tuple(N)?;
        self.0.iter().try_for_each(|figure| tuple.serialize_element(figure))?;
        tuple.end()
    }
}

impl<'de, const N: usize> Deserialize<'de> for Figures<N> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_tuple(N, Reader)
    }
}

/// Reads exactly `N` numbers.
struct Reader<const N: usize>;

impl<'de, const N: usize> Visitor<'de> for Reader<N> {
    type Value = Figures<N>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{N} numbers")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut numbers: A) -> Result<Figures<N>, A::Error> {
        let mut figures = [0; N];
        for (index, figure) in figures.iter_mut().enumerate() {
            let number = numbers.next_element()?;
            *figure = number.ok_or_else(|| A::Error::invalid_length(index, &self))?;
        }
        if numbers.next_element::<u64>()?.is_some() {
            return Err(A::Error::invalid_length(N + 1, &self));
        }
        Ok(Figures(figures))
    }
}
