//! Figures over time as SVG, with the acts marked.

use anyhow::{Result, anyhow};
use plotters::{
    coord::{
        Shift,
        ranged1d::{AsRangedCoord, ValueFormatter},
    },
    prelude::*,
};

use super::outcome::Outcome;

/// A plot, and what it shows.
#[derive(Debug)]
pub(crate) struct Plot {
    pub(crate) name: &'static str,
    pub(crate) caption: String,
    pub(crate) svg: String,
}

/// One line of a plot.
struct Line {
    name: String,
    color: RGBColor,
    is_dashed: bool,
    points: Vec<(f64, f64)>,
}

const SIZE: (u32, u32) = (860, 260);

/// Told apart by those who see fewer colours, too (Okabe and Ito).
const COLORS: [RGBColor; 6] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
];

/// All plots of a scenario.
///
/// # Errors
///
/// Those of drawing.
pub(crate) fn all(outcome: &Outcome) -> Result<Vec<Plot>> {
    let mut plots = Vec::new();
    let latencies = latencies(outcome);
    if !latencies.is_empty() {
        let caption = "What requests took, in milliseconds: the mean of each tenth of a second, \
                       by when they were due; dashed: the objective."
            .to_owned();
        plots.push(Plot { name: "latency", caption, svg: draw(outcome, &latencies, true)? });
    }
    let lines = of(outcome, |tenant| tenant.cpu.iter().copied().map(Some).collect());
    let caption = format!("CPU time of jobs, of {} CPUs.", outcome.machine.cpus);
    plots.push(Plot { name: "cpu", caption, svg: draw(outcome, &lines, false)? });
    let lines = of(outcome, |tenant| tenant.io.iter().copied().map(Some).collect());
    if lines.iter().any(|line| line.points.iter().any(|(_, y)| *y > 1.0)) {
        let caption = "To and from the file, in MiB a second.".to_owned();
        plots.push(Plot { name: "disk", caption, svg: draw(outcome, &lines, false)? });
    }
    let mut lines = of(outcome, |tenant| tenant.memory.clone());
    if lines.iter().any(|line| !line.points.is_empty()) {
        let limits = of(outcome, |tenant| tenant.memory_max.clone());
        lines.extend(limits.into_iter().filter(|line| !line.points.is_empty()).map(|line| Line {
            name: format!("{}, memory.max", line.name),
            is_dashed: true,
            ..line
        }));
        let caption = "Memory charged, in MiB; dashed: its limits.".to_owned();
        plots.push(Plot { name: "memory", caption, svg: draw(outcome, &lines, false)? });
    }
    Ok(plots)
}

/// A line for each tenant.
fn of(
    outcome: &Outcome,
    figures: impl Fn(&super::outcome::TenantSeries) -> Vec<Option<f64>>,
) -> Vec<Line> {
    let series = &outcome.series;
    let lines = series.tenants.iter().zip(COLORS.into_iter().cycle());
    lines
        .map(|(tenant, color)| {
            let points = series.at.iter().copied().zip(figures(tenant));
            let points = points.filter_map(|(x, y)| Some((x, y?))).collect();
            Line { name: tenant.name.clone(), color, is_dashed: false, points }
        })
        .collect()
}

/// The lines of those who have an objective, and the objectives.
fn latencies(outcome: &Outcome) -> Vec<Line> {
    let mut lines = of(outcome, |tenant| tenant.latency.clone().unwrap_or_default());
    lines.retain(|line| !line.points.is_empty());
    let objectives: Vec<Line> = lines
        .iter()
        .filter_map(|line| {
            let acts = outcome.acts.iter().flat_map(|act| &act.tenants);
            let mut latencies = acts.filter(|tenant| tenant.name == line.name);
            let objective = latencies.find_map(|tenant| tenant.latency)?.objective;
            Some(Line {
                name: format!("{}, objective", line.name),
                color: line.color,
                is_dashed: true,
                points: vec![(0.0, objective), (outcome.seconds, objective)],
            })
        })
        .collect();
    lines.extend(objectives);
    lines
}

fn draw(outcome: &Outcome, lines: &[Line], is_log: bool) -> Result<String> {
    let mut svg = String::new();
    let root = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
    root.fill(&WHITE).map_err(failed)?;
    let values = || lines.iter().flat_map(|line| &line.points).map(|(_, y)| *y);
    let top = values().fold(0.0, f64::max).max(0.1) * 1.15;
    if is_log {
        let bottom = values().filter(|y| *y > 0.0).fold(top, f64::min) * 0.8;
        draw_in(&root, outcome, lines, (bottom..top).log_scale(), top)?;
    } else {
        draw_in(&root, outcome, lines, 0.0..top, top)?;
    }
    root.present().map_err(failed)?;
    drop(root);
    Ok(svg)
}

fn draw_in<Y>(
    root: &DrawingArea<SVGBackend<'_>, Shift>,
    outcome: &Outcome,
    lines: &[Line],
    y: Y,
    top: f64,
) -> Result<()>
where
    Y: AsRangedCoord<Value = f64>,
    Y::CoordDescType: Ranged<ValueType = f64> + ValueFormatter<f64>,
{
    let mut chart = ChartBuilder::on(root);
    let chart = chart.margin(8).x_label_area_size(28).y_label_area_size(48);
    let mut chart = chart.build_cartesian_2d(0.0..outcome.seconds.max(0.1), y).map_err(failed)?;
    let mut mesh = chart.configure_mesh();
    mesh.disable_x_mesh().light_line_style(WHITE).x_desc("seconds").y_labels(6);
    mesh.draw().map_err(failed)?;
    for (number, act) in (1..).zip(&outcome.acts) {
        let edge = [(act.from, top), (act.from, f64::MIN_POSITIVE)];
        let edge = LineSeries::new(edge, BLACK.mix(0.35));
        chart.draw_series(edge).map_err(failed)?;
        let place = (act.from + outcome.seconds * 0.004, top);
        let label = Text::new(format!("{number}"), place, ("sans-serif", 13).into_font());
        chart.draw_series([label]).map_err(failed)?;
    }
    for line in lines {
        let points = line.points.iter().copied();
        let color = line.color;
        let series = match line.is_dashed {
            true => chart.draw_series(DashedLineSeries::new(points, 5, 4, color.stroke_width(1))),
            false => chart.draw_series(LineSeries::new(points, color.stroke_width(2))),
        };
        series
            .map_err(failed)?
            .label(line.name.as_str())
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], color.stroke_width(2)));
    }
    let mut labels = chart.configure_series_labels();
    labels.background_style(WHITE.mix(0.8)).border_style(BLACK.mix(0.2));
    labels.position(SeriesLabelPosition::UpperRight).draw().map_err(failed)
}

fn failed(error: impl std::fmt::Display) -> anyhow::Error {
    anyhow!("cannot draw a plot: {error}")
}
