//! How long a cell took: what `:timing` turns on.

use std::time::Duration;

use evcxr::EvalOutputs;

/// The phase in which a cell's code runs, as evcxr calls it; those before it compile.
const RUNNING: &str = "Execution";

/// The time of a cell, if `:timing` asks for it.
pub(crate) fn words(outputs: &EvalOutputs) -> Option<String> {
    let total = outputs.timing?;
    let running = outputs.phases.iter().filter(|phase| phase.name == RUNNING);
    let running: Duration = running.map(|phase| phase.duration).sum();
    Some(sentence(total, running, !outputs.phases.is_empty()))
}

fn sentence(total: Duration, running: Duration, compiled: bool) -> String {
    let seconds = |time: Duration| format!("{:.2} s", time.as_secs_f64());
    if compiled {
        let compiling = total.saturating_sub(running);
        format!(
            "{} ({} compiling, {} running)\n",
            seconds(total),
            seconds(compiling),
            seconds(running)
        )
    } else {
        format!("{}\n", seconds(total))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_is_told_in_its_parts() {
        let time = Duration::from_millis;
        assert_eq!(
            sentence(time(1_500), time(250), true),
            "1.50 s (1.25 s compiling, 0.25 s running)\n"
        );
        assert_eq!(sentence(time(10), time(0), false), "0.01 s\n");
    }
}
