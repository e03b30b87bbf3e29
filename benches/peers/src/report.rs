//! Tables in Markdown, and plots.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::Result;
use clap::ValueEnum;
use plotters::prelude::*;

use crate::Name;
use crate::measure::{Measured, Setup};
use crate::run::{Case, Results};
use crate::workload::Workload;

/// Prints a description of the machine.
pub(crate) fn machine() -> Result<()> {
    let cpus = fs::read_to_string("/proc/cpuinfo")?;
    let model = cpus.lines().find_map(|line| line.strip_prefix("model name"));
    let model = model.map_or("?", |model| model.trim_start_matches([' ', '\t', ':']));
    let cores = std::thread::available_parallelism()?;
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    println!("{cores} cores of {model}, Linux {}", kernel.trim());
    for (program, args) in [("rustc", ["--version"]), ("go", ["version"])] {
        if let Ok(output) = Command::new(program).args(args).output() {
            print!("{}", String::from_utf8_lossy(&output.stdout));
        }
    }
    println!();
    Ok(())
}

impl Case {
    fn title(self) -> String {
        let place = match self.setup {
            Setup::Runtime => "one runtime",
            Setup::Threads => "two threads",
            Setup::Processes => "two processes",
        };
        let tls = if self.tls { "TLS" } else { "cleartext" };
        format!("{}, {tls}, {place}", self.workload.title())
    }

    fn file_name(self) -> String {
        let workload = self.workload.to_possible_value();
        let setup = self.setup.to_possible_value();
        let names = [workload, setup]
            .map(|value| value.map(|value| value.get_name().to_owned()).unwrap_or_default());
        format!("{}-{}.svg", names.join("-"), if self.tls { "tls" } else { "cleartext" })
    }
}

impl Workload {
    fn title(self) -> String {
        let help = self.to_possible_value().and_then(|value| value.get_help().cloned());
        help.map_or_else(String::new, |help| help.to_string())
    }
}

/// The median of some numbers, the least and the greatest.
fn spread(mut numbers: Vec<f64>) -> (f64, f64, f64) {
    numbers.sort_by(f64::total_cmp);
    let last = numbers.len() - 1;
    (numbers[numbers.len() / 2], numbers[0], numbers[last])
}

fn median(of: &[Measured], what: impl Fn(&Measured) -> f64) -> f64 {
    spread(of.iter().map(what).collect()).0
}

/// Three significant digits.
fn short(number: f64) -> String {
    match number {
        n if n >= 1e6 => format!("{:.3} M", n / 1e6),
        n if n >= 1e4 => format!("{:.1} k", n / 1e3),
        n if n >= 100.0 => format!("{n:.0}"),
        n if n >= 10.0 => format!("{n:.1}"),
        n => format!("{n:.2}"),
    }
}

/// Prints one case's table. Ratios are calculated in each round, because a disturbance that lasts
/// for a while affects both measurements.
pub(crate) fn table(case: Case, results: &Results, failures: &BTreeMap<Name, String>) {
    let unit = case.workload.unit();
    println!("### {}\n", case.title());
    let trips = results.values().flatten().any(|measured| measured.trips.is_some());
    let spreads = results.values().flatten().any(|measured| measured.spread.is_some());
    print!("| | {unit}/s | to TCP | processor time a unit | peak memory |");
    if trips {
        print!(" median, p99, p99.9 |");
    }
    if spreads {
        print!(" fastest − slowest |");
    }
    let columns = 5 + usize::from(trips) + usize::from(spreads);
    println!("\n|{}", "---|".repeat(columns));
    for (peer, rounds) in results {
        let title = peer.title(case.tls);
        let (rate, least, most) = spread(rounds.iter().map(|round| round.rate).collect());
        let reference = &results[&Name::Tcp];
        let pairs = rounds.iter().zip(reference);
        let (ratio, low, high) = spread(pairs.map(|(one, tcp)| one.rate / tcp.rate).collect());
        print!(
            "| {title} | {} ({} to {}) | {ratio:.2} ({low:.2} to {high:.2}) | {} µs | {:.0} MiB |",
            short(rate),
            short(least),
            short(most),
            short(median(rounds, |round| round.cpu)),
            median(rounds, |round| round.memory),
        );
        if trips {
            let part = |part: usize| {
                short(median(rounds, |round| round.trips.map_or(0.0, |trips| trips[part])))
            };
            print!(" {}, {}, {} µs |", part(0), part(1), part(2));
        }
        if spreads {
            print!(" {:.0} % |", 100.0 * median(rounds, |round| round.spread.unwrap_or(0.0)));
        }
        match failures.get(peer) {
            Some(_) => println!(" gave up in some rounds |"),
            None => println!(),
        }
    }
    for (peer, error) in failures {
        let last = error.trim_end().lines().next_back().unwrap_or("").trim();
        println!("\n{} failed: {last}", peer.title(case.tls));
    }
    println!();
}

/// Draws one case's medians as bars. The whiskers are the least and the greatest value of the
/// rounds.
pub(crate) fn plot(case: Case, results: &Results, folder: &Path) -> Result<()> {
    const ROW: u32 = 28;
    fs::create_dir_all(folder)?;
    let file = folder.join(case.file_name());
    let rows: Vec<_> = results.iter().rev().collect();
    let most = results.values().flatten().map(|round| round.rate).fold(0.0, f64::max);
    let size = (860, 90 + ROW * rows.len() as u32);
    let area = SVGBackend::new(&file, size).into_drawing_area();
    area.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&area)
        .caption(format!("{} a second: {}", case.workload.unit(), case.title()), ("sans-serif", 16))
        .margin(8)
        .x_label_area_size(28)
        .y_label_area_size(230)
        .build_cartesian_2d(0.0..most * 1.05, (0..(rows.len() - 1).max(1)).into_segmented())?;
    let names = |row: &SegmentValue<usize>| match row {
        SegmentValue::CenterOf(row) if *row < rows.len() => {
            rows[*row].0.title(case.tls).replace(['*', '`'], "")
        }
        _ => String::new(),
    };
    chart
        .configure_mesh()
        .disable_y_mesh()
        .y_labels(rows.len())
        .x_label_formatter(&|x| short(*x))
        .y_label_formatter(&names)
        .label_style(("sans-serif", 13))
        .draw()?;
    for (row, (peer, rounds)) in rows.iter().enumerate() {
        let (median, least, most) = spread(rounds.iter().map(|round| round.rate).collect());
        let ours = matches!(peer, Name::H2conn | Name::Chunks | Name::Accept);
        let color = if ours { RGBColor(38, 110, 178) } else { RGBColor(170, 178, 189) };
        let (below, above) = (SegmentValue::Exact(row), SegmentValue::Exact(row + 1));
        let mut bar = Rectangle::new([(0.0, below), (median, above)], color.filled());
        bar.set_margin(5, 5, 0, 0);
        let middle = SegmentValue::CenterOf(row);
        let whisker = [(least, middle.clone()), (most, middle)];
        chart.draw_series([bar])?;
        chart.draw_series([PathElement::new(whisker, BLACK)])?;
    }
    area.present()?;
    Ok(())
}
