//! Drawings of results, as SVG.

use anyhow::anyhow;
use plotters::{coord::Shift, prelude::*};

use crate::compare::Runs;

const SIZE: (u32, u32) = (860, 420);

/// Distinct with and without colours seen, after Okabe and Ito.
const COLOURS: [RGBColor; 7] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
    RGBColor(60, 60, 60),
];

type Points = Vec<(f64, f64)>;

/// The drawings of a workload, with their names: of latency and throughput, or of growth where runs differ in scale.
pub(crate) fn of(runs: &Runs) -> anyhow::Result<Vec<(&'static str, String)>> {
    let mut plots = Vec::new();
    if runs.scales().len() > 1 {
        let growth = Axes {
            title: format!("{}: {}", runs.name, runs.unit()),
            legend: SeriesLabelPosition::UpperLeft,
            x: Axis { name: "scale", log: true, format: |scale| format!("{scale}") },
            y: Axis { name: runs.unit(), log: false, format: short },
        };
        let costs = |server: &str| {
            let at = |scale: Option<f64>| Some((scale?, runs.costs(server, scale)?.median));
            runs.scales().into_iter().filter_map(at).collect()
        };
        plots.push(("growth", growth.draw(&lines(runs, costs))?));
        return Ok(plots.into_iter().filter_map(|(name, svg)| Some((name, svg?))).collect());
    }
    let latency = Axes {
        title: format!("{}: latency", runs.name),
        legend: SeriesLabelPosition::LowerRight,
        x: Axis { name: "percentile", log: false, format: percentile },
        y: Axis { name: "ms", log: true, format: short },
    };
    let curve = |server: &str| {
        let outcome = runs.middle(server);
        let times = outcome.and_then(|outcome| match (&outcome.load, &outcome.connect) {
            (Some(load), _) => Some(&load.delivery),
            (None, connect) => connect.as_ref().map(|connect| &connect.times),
        });
        let curve = times.into_iter().flat_map(|times| &times.curve);
        // Nines: 90 % is 1, 99 % is 2. The maximum is off the scale.
        curve
            .filter(|(percent, micros)| *percent < 100.0 && *micros > 0)
            .map(|(percent, micros)| (-(1.0 - percent / 100.0).log10(), *micros as f64 / 1000.0))
            .collect()
    };
    plots.push(("latency", latency.draw(&lines(runs, curve))?));
    let throughput = Axes {
        title: format!("{}: deliveries a second", runs.name),
        legend: SeriesLabelPosition::LowerRight,
        x: Axis { name: "seconds", log: false, format: short },
        y: Axis { name: "deliveries a second", log: false, format: short },
    };
    let series = |server: &str| {
        let load = runs.middle(server).and_then(|outcome| outcome.load.as_ref());
        let series = load.map(|load| load.series.as_slice()).unwrap_or_default();
        let rate = |two: &[(f64, u64)]| (two[1].0, (two[1].1 - two[0].1) as f64 / (two[1].0 - two[0].0).max(1e-3));
        series.windows(2).filter(|two| two[1].0 - two[0].0 > 0.05).map(rate).collect()
    };
    plots.push(("throughput", throughput.draw(&lines(runs, series))?));
    Ok(plots.into_iter().filter_map(|(name, svg)| Some((name, svg?))).collect())
}

fn lines(runs: &Runs, points: impl Fn(&str) -> Points) -> Vec<(String, Points)> {
    let lines = runs.servers.iter().map(|server| (server.clone(), points(server)));
    lines.filter(|(_, points)| !points.is_empty()).collect()
}

struct Axes {
    title: String,
    /// Where it covers no line.
    legend: SeriesLabelPosition,
    x: Axis,
    y: Axis,
}

struct Axis {
    name: &'static str,
    log: bool,
    format: fn(f64) -> String,
}

impl Axis {
    /// Where a value lies: on a logarithmic axis, at its logarithm.
    fn place(&self, value: f64) -> f64 {
        if self.log { value.max(1e-6).log10() } else { value }
    }

    fn label(&self, place: f64) -> String {
        let value = if self.log { 10_f64.powf(place) } else { place };
        (self.format)((value * 1e4).round() / 1e4)
    }

    /// From the least to the most, with room beyond; a linear axis begins at 0.
    fn range(&self, values: impl Iterator<Item = f64>) -> std::ops::Range<f64> {
        let places = values.map(|value| self.place(value));
        let (least, most) =
            places.fold((f64::MAX, f64::MIN), |(least, most), place| (least.min(place), most.max(place)));
        let least = if self.log { least - 0.1 } else { 0.0 };
        least..(most + (most - least).abs().max(1e-6) * 0.08)
    }
}

impl Axes {
    /// `None` when there is nothing to draw.
    fn draw(&self, lines: &[(String, Points)]) -> anyhow::Result<Option<String>> {
        if lines.iter().all(|(_, points)| points.len() < 2) {
            return Ok(None);
        }
        let mut svg = String::new();
        let area = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        self.draw_on(&area, lines).map_err(|error| anyhow!("could not draw {}: {error}", self.title))?;
        drop(area);
        Ok(Some(svg))
    }

    fn draw_on<'a>(
        &self,
        area: &DrawingArea<SVGBackend<'a>, Shift>,
        lines: &[(String, Points)],
    ) -> Result<(), DrawingAreaErrorKind<<SVGBackend<'a> as DrawingBackend>::ErrorType>> {
        let all = || lines.iter().flat_map(|(_, points)| points);
        let (x, y) = (self.x.range(all().map(|point| point.0)), self.y.range(all().map(|point| point.1)));
        area.fill(&WHITE)?;
        let mut chart = ChartBuilder::on(area)
            .caption(&self.title, ("sans-serif", 18))
            .margin(12)
            .x_label_area_size(42)
            .y_label_area_size(64)
            .build_cartesian_2d(x, y)?;
        chart
            .configure_mesh()
            .light_line_style(WHITE)
            .x_labels(6)
            .x_desc(self.x.name)
            .y_desc(self.y.name)
            .x_label_formatter(&|place| self.x.label(*place))
            .y_label_formatter(&|place| self.y.label(*place))
            .draw()?;
        for ((name, points), colour) in lines.iter().zip(COLOURS.iter().cycle()) {
            let placed = points.iter().map(|(x, y)| (self.x.place(*x), self.y.place(*y)));
            chart
                .draw_series(LineSeries::new(placed, colour.stroke_width(2)))?
                .label(name)
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(2)));
        }
        chart
            .configure_series_labels()
            .position(self.legend.clone())
            .background_style(WHITE.mix(0.8))
            .border_style(BLACK.mix(0.2))
            .draw()?;
        area.present()
    }
}

/// Two nines are 99.
fn percentile(nines: f64) -> String {
    let percent = 100.0 - 100.0 / 10_f64.powf(nines);
    format!("{percent:.3}").trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// 12,000 as 12k.
fn short(value: f64) -> String {
    if value.abs() >= 1e6 {
        format!("{:.1}M", value / 1e6)
    } else if value.abs() >= 1e4 {
        format!("{:.0}k", value / 1e3)
    } else {
        format!("{value:.3}").trim_end_matches('0').trim_end_matches('.').to_owned()
    }
}
