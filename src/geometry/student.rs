//! Quantiles of Student's t.

/// `P(|T| > t) = I_x(ν/2, 1/2)` for `freedom` degrees of freedom ν, with `x = ν/(ν + t²)` and `I` the
/// regularised incomplete beta function. `T²` has the F distribution of 1 and ν degrees.
pub(crate) fn two_sided_tail(t: f64, freedom: f64) -> f64 {
    incomplete_beta(freedom / (freedom + t * t), freedom / 2.0, 0.5)
}

/// The `t` with `P(|T| ≤ t) = confidence` for `freedom` degrees of freedom, found by halving
/// intervals.
pub(crate) fn two_sided_quantile(confidence: f64, freedom: f64) -> f64 {
    let inside = |t: f64| 1.0 - two_sided_tail(t, freedom);
    let mut high = 1.0;
    while inside(high) < confidence && high < f64::MAX / 4.0 {
        high *= 2.0;
    }
    let mut low = 0.0;
    for _ in 0..200 {
        let middle = 0.5 * (low + high);
        if inside(middle) < confidence {
            low = middle;
        } else {
            high = middle;
        }
    }
    0.5 * (low + high)
}

/// The regularised incomplete beta function `I_x(a, b)`, by its continued fraction.
fn incomplete_beta(x: f64, a: f64, b: f64) -> f64 {
    if x <= 0.0 || x >= 1.0 {
        return x.clamp(0.0, 1.0);
    }
    // The fraction converges quickly below this point, and I_x(a, b) = 1 − I_{1−x}(b, a).
    if x > (a + 1.0) / (a + b + 2.0) {
        return 1.0 - incomplete_beta(1.0 - x, b, a);
    }
    let front = a * x.ln() + b * (-x).ln_1p() + ln_gamma(a + b) - ln_gamma(a) - ln_gamma(b);
    front.exp() / a * continued_fraction(x, a, b)
}

/// The continued fraction of the incomplete beta function, by Lentz's method.
fn continued_fraction(x: f64, a: f64, b: f64) -> f64 {
    const TINY: f64 = 1e-300;
    let away = |value: f64| if value.abs() < TINY { TINY } else { value };
    let mut d = 1.0 / away(1.0 - (a + b) * x / (a + 1.0));
    let (mut c, mut sum) = (1.0, d);
    for m in 1..500 {
        let m = f64::from(m);
        let even = m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m));
        let odd = -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0));
        let before = sum;
        for step in [even, odd] {
            d = 1.0 / away(1.0 + step * d);
            c = away(1.0 + step / c);
            sum *= d * c;
        }
        if (sum - before).abs() < 1e-15 * sum.abs() {
            break;
        }
    }
    sum
}

/// `ln Γ(x)` for `x > 0`, by Stirling's series after the recurrence has made `x` large.
fn ln_gamma(x: f64) -> f64 {
    let (mut x, mut shift) = (x, 0.0);
    while x < 10.0 {
        shift += x.ln();
        x += 1.0;
    }
    let (inverse, square) = (1.0 / x, 1.0 / (x * x));
    let series = inverse
        * (1.0 / 12.0 - square * (1.0 / 360.0 - square * (1.0 / 1260.0 - square * (1.0 / 1680.0))));
    (x - 0.5) * x.ln() - x + 0.5 * std::f64::consts::TAU.ln() + series - shift
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gamma_is_the_factorial_and_its_half() {
        let factorial: f64 = (1..=6).map(f64::from).product();
        assert!((ln_gamma(7.0) - factorial.ln()).abs() < 1e-12);
        assert!((ln_gamma(0.5) - 0.5 * std::f64::consts::PI.ln()).abs() < 1e-12);
    }

    #[test]
    fn quantiles_have_closed_forms_for_one_and_two_degrees() {
        for confidence in [0.1, 0.5, 0.96, 0.999] {
            let one = (std::f64::consts::FRAC_PI_2 * confidence).tan();
            assert!((two_sided_quantile(confidence, 1.0) / one - 1.0).abs() < 1e-9);
            // P(|T| ≤ t) = t / √(t² + 2)
            let two = confidence * (2.0 / (1.0 - confidence * confidence)).sqrt();
            assert!((two_sided_quantile(confidence, 2.0) / two - 1.0).abs() < 1e-9);
            assert!((two_sided_tail(two, 2.0) - (1.0 - confidence)).abs() < 1e-12);
        }
        // Many degrees are the normal distribution.
        assert!((two_sided_quantile(0.95, 1e7) - 1.959_964).abs() < 1e-5);
    }
}
