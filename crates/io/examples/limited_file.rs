//! Two tenants read one file, by weights 1 to 3 and below a common limit: `fief-core` and `fief-io` alone.
#![expect(clippy::print_stdout, reason = "it is an example")]

use std::{
    error::Error,
    fs::File,
    io::{self, Write as _},
    os::unix::fs::FileExt as _,
    thread,
    time::{Duration, Instant},
};

use fief_core::Registry;
use fief_io::{Device, Io, Limits, Stream};

const MIB: u64 = 1 << 20;
const TIME: Duration = Duration::from_secs(1);

fn main() -> Result<(), Box<dyn Error>> {
    let registry = Registry::new();
    let tenants = registry.create_hierarchy("by-tenant")?;
    let io = registry.register(Io::new())?;
    io.bind(&tenants)?;

    // One operation at a time, so that it is the weights that say who is next.
    let disk = Device::builder("disk").depth(1).register(&io)?;
    let both = tenants.root().create_child("both")?;
    let css = io.css(&both).ok_or("the group was removed")?;
    css.set_limits(&disk, Limits::new().rbps(64 * MIB))?;
    let mut readers = Vec::new();
    for (name, weight) in [("small", 100), ("large", 300)] {
        let tenant = both.create_child(name)?;
        let css = io.css(&tenant).ok_or("the group was removed")?;
        css.set_weight(&disk, Some(weight))?;
        readers.push(disk.stream(&tenant)?);
    }

    let mut file = tempfile::tempfile()?;
    file.write_all(&vec![0; 8 << 20])?;
    // Several operations at once for each: who has only one in flight cannot take its share of a device.
    thread::scope(|scope| {
        for stream in readers.iter().flat_map(|stream| [stream; 4]) {
            let file = &file;
            scope.spawn(move || report(read(stream, file)));
        }
    });

    for tenant in both.children() {
        print!("{} {}", tenant.path(), tenant.read("io.stat")?);
    }
    print!("{} {}", both.path(), both.read("io.stat")?);
    Ok(())
}

/// Reads the file again and again.
fn read(stream: &Stream, file: &File) -> io::Result<()> {
    let file = stream.limit(file.try_clone()?);
    let (start, mut buf, mut at) = (Instant::now(), vec![0; 64 << 10], 0);
    while start.elapsed() < TIME {
        let bytes = file.read_at(&mut buf, at)? as u64;
        at = if bytes == 0 { 0 } else { at + bytes };
    }
    Ok(())
}

fn report(result: io::Result<()>) {
    if let Err(error) = result {
        println!("{error}");
    }
}
