use candle_core::Device;

use super::*;
use crate::random::Rng;

/// Widths of two octaves and more, as autoencoders have them.
const WIDTHS: [f64; 9] =
    [384.0, 576.0, 768.0, 1_152.0, 1_536.0, 2_304.0, 3_072.0, 4_608.0, 6_144.0];

/// The widths and losses of the study's reference case, and its optima with and without c.
const STUDY: [(f64, f64); 7] = [
    (16_384.0, 0.185_432_901_185_116_07),
    (32_768.0, 0.167_033_782_342_879_36),
    (65_536.0, 0.144_059_678_017_384_77),
    (131_072.0, 0.128_398_090_660_493_82),
    (262_144.0, 0.110_546_445_002_834_42),
    (524_288.0, 0.103_792_630_694_007_04),
    (1_048_576.0, 0.096_354_312_640_396_6),
];

fn values(law: impl Fn(f64) -> f64) -> Vec<f64> {
    WIDTHS.iter().map(|width| law(*width)).collect()
}

fn normal(seed: u64, n: usize) -> Vec<f64> {
    let draws: Vec<f32> = Rng::seed(seed).normal(n, &Device::Cpu).unwrap().to_vec1().unwrap();
    draws.into_iter().map(f64::from).collect()
}

#[test]
fn exact_laws_come_back() {
    for (a, exponent, c) in
        [(3.5, 0.592, 0.115), (0.8, 0.05, 0.3), (1e4, 2.0, 0.01), (12.0, 0.7, 0.0)]
    {
        let law = PowerLaw::fit(&WIDTHS, &values(|w| a * w.powf(-exponent) + c)).unwrap();
        assert!((law.a / a - 1.0).abs() < 1e-10, "{law}");
        assert!((law.exponent / exponent - 1.0).abs() < 1e-10, "{law}");
        assert!((law.c.unwrap() - c).abs() < 1e-10, "{law}");
        let own = PowerLaw::without_constant(&WIDTHS, &values(|w| a * w.powf(-exponent))).unwrap();
        assert!((own.a / a - 1.0).abs() < 1e-10 && own.c.is_none(), "{own}");
        assert!((own.exponent / exponent - 1.0).abs() < 1e-10, "{own}");
    }
}

#[test]
fn the_study_s_case_has_its_optimum() {
    let (widths, losses): (Vec<f64>, Vec<f64>) = STUDY.into_iter().unzip();
    let with = PowerLaw::fit(&widths, &losses).unwrap();
    let without = PowerLaw::without_constant(&widths, &losses).unwrap();
    let close = |found: f64, expected: f64| assert!((found - expected).abs() < 1e-7, "{found}");
    close(with.a, 2.032_307_649_552_465);
    close(with.exponent, 0.279_440_308_917_412_6);
    close(with.c.unwrap(), 0.052_368_630_446_573_62);
    close(without.a, 0.952_834_213_561_214);
    close(without.exponent, 0.169_034_640_200_526_94);
    // At a minimum no small change of a parameter lowers the squares.
    let squares = |a: f64, exponent: f64, c: f64| -> f64 {
        STUDY.iter().map(|(w, y)| (y - a * w.powf(-exponent) - c).powi(2)).sum()
    };
    let (a, exponent, c) = (with.a, with.exponent, with.c.unwrap());
    let least = squares(a, exponent, c);
    assert!((least - with.squared_error()).abs() < 1e-15);
    for change in [0.999, 1.001] {
        assert!(squares(a * change, exponent, c) > least);
        assert!(squares(a, exponent * change, c) > least);
        assert!(squares(a, exponent, c * change) > least);
    }
}

#[test]
fn intervals_hold_the_truth_in_95_of_100_draws() {
    let (a, exponent, c, noise) = (3.6, 0.592, 0.115, 5e-4);
    let exact = values(|w| a * w.powf(-exponent) + c);
    let mut held = [0; 5];
    for draw in 0..1_000 {
        let noise: Vec<f64> = normal(draw, WIDTHS.len()).iter().map(|e| noise * e).collect();
        let noisy: Vec<f64> = exact.iter().zip(&noise).map(|(y, e)| y + e).collect();
        let own = PowerLaw::fit(&WIDTHS, &noisy).unwrap().intervals();
        let plain: Vec<f64> = noisy.iter().map(|y| y - c).collect();
        let other = PowerLaw::without_constant(&WIDTHS, &plain).unwrap().intervals();
        let within = [
            (own.a, a),
            (own.exponent, exponent),
            (own.c.unwrap(), c),
            (other.a, a),
            (other.exponent, exponent),
        ];
        for (held, (interval, truth)) in held.iter_mut().zip(within) {
            *held += usize::from(interval.lower <= truth && truth <= interval.upper);
        }
    }
    assert!(held.iter().all(|held| (920..=980).contains(held)), "{held:?}");
}

#[test]
fn the_ends_of_an_interval_are_where_the_best_law_has_the_bound() {
    let noise = normal(7, WIDTHS.len());
    let noisy: Vec<f64> = values(|w| 3.6 * w.powf(-0.592) + 0.115)
        .iter()
        .zip(noise)
        .map(|(y, e)| y + 5e-4 * e)
        .collect();
    let law = PowerLaw::fit(&WIDTHS, &noisy).unwrap();
    // Six degrees of freedom have the quantile 2.4469.
    let bound = law.squared_error() * (1.0 + 2.446_912_f64.powi(2) / 6.0);
    let within = law.intervals();
    // The best law of a given constant, by exhaustion.
    let best = |c: f64| -> f64 {
        let at = |i: u32| {
            let exponent = 0.2 * 1.0005f64.powi(i as i32);
            let x = values(|w| (w / 384.0).powf(-exponent));
            let xy: f64 = x.iter().zip(&noisy).map(|(x, y)| x * (y - c)).sum();
            let factor = xy / x.iter().map(|x| x * x).sum::<f64>();
            x.iter().zip(&noisy).map(|(x, y)| (y - c - factor * x).powi(2)).sum::<f64>()
        };
        (0..4_000).map(at).fold(f64::INFINITY, f64::min)
    };
    let c = within.c.unwrap();
    for end in [c.lower, c.upper] {
        assert!((best(end) / bound - 1.0).abs() < 1e-3, "{end}: {} {bound}", best(end));
    }
    assert!(c.lower < law.c.unwrap() && law.c.unwrap() < c.upper);
}

#[test]
fn values_that_do_not_fall_are_a_constant() {
    for (values, level) in [(vec![0.2; 9], 0.2), (values(|w| 0.1 + 1e-6 * w), 0.102_282_666_67)] {
        let law = PowerLaw::fit(&WIDTHS, &values).unwrap();
        assert_eq!((law.a, law.exponent), (0.0, 0.0));
        assert!((law.c.unwrap() - level).abs() < 1e-8, "{law}");
        let within = law.intervals();
        assert!(within.exponent.upper.is_infinite() && within.c.unwrap().upper < 1.1 * level);
        let without = PowerLaw::without_constant(&WIDTHS, &values).unwrap();
        assert!((without.predict(1e5) - level).abs() < 1e-8, "{without}");
        let evidence = law.evidence(&without).unwrap();
        assert!(evidence.delta_bic < 0.0 && evidence.to_string().contains("ΔBIC"));
    }
}

#[test]
fn evidence_tells_laws_with_a_constant_from_laws_without() {
    let noise = normal(3, WIDTHS.len());
    let both = |c: f64| {
        let values: Vec<f64> = values(|w| 3.6 * w.powf(-0.592) + c)
            .iter()
            .zip(&noise)
            .map(|(y, e)| y + 3e-4 * e)
            .collect();
        let with = PowerLaw::fit(&WIDTHS, &values).unwrap();
        let without = PowerLaw::without_constant(&WIDTHS, &values).unwrap();
        let evidence = with.evidence(&without).unwrap();
        assert_eq!(evidence, without.evidence(&with).unwrap());
        let f = evidence.f_statistic.unwrap();
        let expected = (without.squared_error() / with.squared_error() - 1.0) * 6.0;
        assert!((f - expected).abs() < 1e-9 * (1.0 + f));
        evidence
    };
    let there = both(0.115);
    assert!(there.p_value.unwrap() < 1e-6 && there.delta_bic > 6.0, "{there}");
    assert!(there.left_out_with.unwrap() < 0.5 * there.left_out_without.unwrap(), "{there}");
    let none = both(0.0);
    assert!(none.p_value.unwrap() > 0.05 && none.delta_bic < 3.0, "{none}");
}

#[test]
fn points_that_are_too_few_or_bad_are_named() {
    let text = |result: Result<PowerLaw>| result.unwrap_err().to_string();
    assert!(text(PowerLaw::fit(&[1.0, 2.0], &[0.2, 0.1])).contains("at least three"));
    assert!(text(PowerLaw::fit(&[1.0, 1.0, 2.0], &[0.2, 0.1, 0.1])).contains("at least three"));
    assert!(text(PowerLaw::without_constant(&[2.0, 2.0], &[0.2, 0.1])).contains("at least two"));
    assert!(text(PowerLaw::fit(&[1.0, 2.0], &[0.2])).contains("one a width"));
    assert!(text(PowerLaw::fit(&[1.0, 2.0, 0.0], &[0.2; 3])).contains("a width"));
    assert!(text(PowerLaw::fit(&[1.0, 2.0, 3.0], &[0.2, f64::NAN, 0.1])).contains("NaN"));
    let three = PowerLaw::fit(&[1.0, 2.0, 4.0], &[3.0, 2.0, 1.5]).unwrap();
    // Three points are met exactly, by 2/W + 1, and bound nothing.
    assert!((three.a - 2.0).abs() < 1e-9 && (three.exponent - 1.0).abs() < 1e-9, "{three}");
    assert!(three.intervals().c.unwrap().upper.is_infinite());
    let two = PowerLaw::without_constant(&[1.0, 2.0, 4.0], &[3.0, 2.0, 1.5]).unwrap();
    let evidence = three.evidence(&two).unwrap();
    assert!(evidence.f_statistic.is_none() && evidence.left_out_with.is_none());
    assert!(three.evidence(&three).unwrap_err().to_string().contains("without a constant"));
}

#[test]
fn resampled_laws_tell_how_often_there_is_a_constant() {
    let noisy = |law: &dyn Fn(f64) -> f64, size: f64| -> Vec<Vec<f64>> {
        let of = |(seed, width): (u64, &f64)| {
            normal(seed, 100).iter().map(|x| law(*width) * (1.0 + size * x)).collect()
        };
        (40..).zip(&WIDTHS).map(of).collect()
    };
    let flat = |w: f64| 3.0 * w.powf(-0.5) + 0.1;
    let with = PowerLaw::fit(&WIDTHS, &values(flat)).unwrap();
    let found = with.resampled(&noisy(&flat, 1e-3)).unwrap();
    assert_eq!((found.draws, found.share_above_zero, found.c.mean), (100, 1.0, with.c.unwrap()));
    assert!(found.c.lower < 0.1 && found.c.upper > 0.1 && found.exponent.lower < 0.5, "{found}");
    assert!(found.c.upper - found.c.lower < 0.05 && found.exponent.upper > 0.5, "{found}");
    // Falls faster with each doubling, which a constant makes worse.
    let bent = |w: f64| (-0.1 * w.ln().powi(2)).exp();
    let without = PowerLaw::fit(&WIDTHS, &values(bent)).unwrap();
    let found = without.resampled(&noisy(&bent, 1e-3)).unwrap();
    assert_eq!((found.share_above_zero, found.c.upper), (0.0, 0.0), "{found}");
    // Equal draws are the law itself.
    let equal: Vec<Vec<f64>> = values(flat).into_iter().map(|value| vec![value; 3]).collect();
    let found = with.resampled(&equal).unwrap();
    assert_eq!((found.c.lower, found.c.upper), (with.c.unwrap(), with.c.unwrap()));
}

#[test]
fn draws_that_do_not_fit_a_law_are_refused() {
    let own = values(|w| w.powf(-0.3) + 0.1);
    let law = PowerLaw::fit(&WIDTHS, &own).unwrap();
    let draws: Vec<Vec<f64>> = own.iter().map(|value| vec![*value; 2]).collect();
    let text = |law: &PowerLaw, draws: &[Vec<f64>]| law.resampled(draws).unwrap_err().to_string();
    let without = PowerLaw::without_constant(&WIDTHS, &own).unwrap();
    assert!(text(&without, &draws).contains("one with a constant"));
    assert!(text(&law, &draws[1..]).contains("values of 9 widths"));
    assert!(text(&law, &vec![Vec::new(); 9]).contains("at least 1"));
    let mut uneven = draws.clone();
    uneven[4].push(1.0);
    assert!(text(&law, &uneven).contains("2 values of each width"));
    let mut nan = draws;
    nan[4][1] = f64::NAN;
    let expected = format!("`draws` of width {} holds NaN or infinite values", WIDTHS[4]);
    let found = text(&law, &nan);
    assert!(found.starts_with(&expected) && found.contains("index 1)"), "{found}");
}
