//! The running mean of the study's figure of probes.

use crate::Result;
use crate::check::check_sizes;

/// The study's running mean of `window` values (Figure 14): values are padded with `padding` zeros at
/// both ends, and the mean that begins at the padded place i is drawn at place i,
///
/// ```text
/// mean[i] = Σ_{j = i − padding}^{i − padding + window − 1} value[j] / window
/// ```
///
/// With its 100 and 5 the curve is `window/2 − padding` = 45 places to the left of what it is the mean
/// of, and the zeros pull its ends down.
/// [`ProbeSimilarity`](crate::sae_error::ProbeSimilarity) draws means at the mean of their places.
/// There are `values + 2 · padding − window + 1` of them, none if that is not positive.
///
/// # Errors
/// [`Error::Invalid`](crate::Error::Invalid) for a window of 0.
pub fn study_running_mean(values: &[f64], window: usize, padding: usize) -> Result<Vec<f64>> {
    check_sizes(&[("`window`", window)])?;
    let zeros = std::iter::repeat_n(0.0, padding);
    let padded: Vec<f64> = zeros.clone().chain(values.iter().copied()).chain(zeros).collect();
    Ok(padded.windows(window).map(|own| own.iter().sum::<f64>() / window as f64).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn means_are_drawn_at_their_first_place_after_padding() {
        let values = [1.0, 2.0, 3.0, 4.0, 5.0];
        let found = study_running_mean(&values, 4, 1).unwrap();
        assert_eq!(found, [1.5, 2.5, 3.5, 3.0]);
        assert_eq!(study_running_mean(&values, 4, 0).unwrap(), [2.5, 3.5]);
        assert!(study_running_mean(&values, 9, 1).unwrap().is_empty());
        assert!(study_running_mean(&values, 0, 1).is_err());
    }

    #[test]
    fn a_straight_line_is_45_places_off() {
        let values: Vec<f64> = (0..1_000).map(f64::from).collect();
        let found = study_running_mean(&values, 100, 5).unwrap();
        // Away from the ends the mean at place i is that of places i − 5 to i + 94.
        assert_eq!(found.len(), 911);
        assert_eq!(found[500], 544.5);
    }
}
