//! Which vector instructions the loops of this library use.
//!
//! The library is compiled for every processor of its kind; loops that gain from more are compiled
//! once more for AVX2 and AVX-512, and the processor is asked when they run. The environment variable
//! `EIGENLENS_SIMD` (`none`, `avx2`, `avx512`; on AArch64 `none`, `neon`) holds them to less than the
//! processor has. Most give the same bits whatever it is; with `none`, encoding and decoding round
//! otherwise, for products are then not fused with their sums.

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
use std::sync::OnceLock;

/// The environment variable that limits which instructions are used.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
const LIMIT: &str = "EIGENLENS_SIMD";

/// Made where the processor has AVX2 and fused multiplication, and they may be used.
#[cfg(target_arch = "x86_64")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Avx2(());

/// Made where the processor has AVX-512 for numbers of all sizes, and it may be used.
#[cfg(target_arch = "x86_64")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Avx512 {
    /// Whether products of integers are multiplied and added in one instruction.
    pub(super) vnni: bool,
    /// A processor that has AVX-512 has these too.
    pub(crate) avx2: Avx2,
}

/// Made where the processor has NEON, and it may be used.
#[cfg(target_arch = "aarch64")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Neon(());

/// What `EIGENLENS_SIMD` allows, in ascending order.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Limit {
    Baseline,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "x86_64")]
    Avx512,
    #[cfg(target_arch = "aarch64")]
    Neon,
}

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
impl Limit {
    #[cfg(target_arch = "x86_64")]
    const NAMES: &[(&str, Self)] =
        &[("none", Self::Baseline), ("avx2", Self::Avx2), ("avx512", Self::Avx512)];
    #[cfg(target_arch = "aarch64")]
    const NAMES: &[(&str, Self)] = &[("none", Self::Baseline), ("neon", Self::Neon)];
    #[cfg(target_arch = "x86_64")]
    const HIGHEST: Self = Self::Avx512;
    #[cfg(target_arch = "aarch64")]
    const HIGHEST: Self = Self::Neon;

    fn of_environment() -> Self {
        static FOUND: OnceLock<Limit> = OnceLock::new();
        *FOUND.get_or_init(|| match std::env::var(LIMIT) {
            Ok(value) => Self::named(&value).unwrap_or_else(|| {
                let names: Vec<&str> = Self::NAMES.iter().map(|(name, _)| *name).collect();
                let names = names.join(", ");
                eprintln!("{LIMIT} is `{value}`: expected one of {names}; it is ignored");
                Self::HIGHEST
            }),
            Err(_) => Self::HIGHEST,
        })
    }

    fn named(value: &str) -> Option<Self> {
        if value.is_empty() {
            return Some(Self::HIGHEST);
        }
        Self::NAMES.iter().find(|(name, _)| *name == value).map(|(_, limit)| *limit)
    }
}

#[cfg(target_arch = "x86_64")]
impl Avx2 {
    #[inline]
    pub(crate) fn detect() -> Option<Self> {
        let has = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
        (has && Limit::of_environment() >= Limit::Avx2).then_some(Self(()))
    }
}

#[cfg(target_arch = "x86_64")]
impl Avx512 {
    #[inline]
    pub(crate) fn detect() -> Option<Self> {
        let has = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vl");
        let may = has && Limit::of_environment() >= Limit::Avx512;
        let avx2 = Avx2::detect().filter(|_| may)?;
        Some(Self { vnni: is_x86_feature_detected!("avx512vnni"), avx2 })
    }
}

#[cfg(target_arch = "aarch64")]
impl Neon {
    #[inline]
    pub(crate) fn detect() -> Option<Self> {
        let has = std::arch::is_aarch64_feature_detected!("neon");
        (has && Limit::of_environment() >= Limit::Neon).then_some(Self(()))
    }
}

/// Which of the versions of a [`vectorised`] function runs, in ascending order.
#[cfg(target_arch = "x86_64")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Version {
    Baseline,
    Avx2,
    Avx512,
}

#[cfg(target_arch = "x86_64")]
impl Version {
    /// The widest that the processor has and that may be used.
    #[inline]
    pub(crate) fn widest() -> Self {
        #[cfg(test)]
        if let Some(version) = tests::chosen() {
            return version;
        }
        Self::of_processor()
    }

    #[inline]
    fn of_processor() -> Self {
        static FOUND: OnceLock<Version> = OnceLock::new();
        *FOUND.get_or_init(|| match (Avx512::detect(), Avx2::detect()) {
            (Some(_), _) => Self::Avx512,
            (None, Some(_)) => Self::Avx2,
            (None, None) => Self::Baseline,
        })
    }
}

/// A function that is compiled for AVX2 and AVX-512 as well, and that runs as the widest of these that
/// the processor has. What it calls must be `#[inline(always)]` to be compiled with it. The order of
/// sums is that of the source: all versions give the same bits.
macro_rules! vectorised {
    (
        $(#[$attribute:meta])*
        $visibility:vis fn $name:ident $(<$generic:ident: $bound:path>)?
        ($($argument:ident: $type:ty),* $(,)?) $(-> $output:ty)? $body:block
    ) => {
        $(#[$attribute])*
        #[allow(unsafe_code, reason = "the processor is asked for what the versions are compiled for")]
        $visibility fn $name $(<$generic: $bound>)? ($($argument: $type),*) $(-> $output)? {
            #[inline(always)]
            fn baseline $(<$generic: $bound>)? ($($argument: $type),*) $(-> $output)? $body
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx2,fma")]
                fn avx2 $(<$generic: $bound>)? ($($argument: $type),*) $(-> $output)? {
                    baseline($($argument),*)
                }
                #[target_feature(enable = "avx2,fma,avx512f,avx512bw,avx512dq,avx512vl")]
                fn avx512 $(<$generic: $bound>)? ($($argument: $type),*) $(-> $output)? {
                    baseline($($argument),*)
                }
                use $crate::linalg::simd::Version;
                match Version::widest() {
                    // SAFETY: the processor has just said that it has what they are compiled for.
                    Version::Avx512 => unsafe { avx512($($argument),*) },
                    // SAFETY: as above.
                    Version::Avx2 => unsafe { avx2($($argument),*) },
                    Version::Baseline => baseline($($argument),*),
                }
            }
            #[cfg(not(target_arch = "x86_64"))]
            baseline($($argument),*)
        }
    };
}
pub(crate) use vectorised;

#[cfg(all(test, target_arch = "x86_64"))]
pub(crate) mod tests {
    use std::cell::Cell;

    use super::*;

    thread_local! {
        /// The version that functions run as on this thread, instead of the widest.
        static CHOSEN: Cell<Option<Version>> = const { Cell::new(None) };
    }

    pub(super) fn chosen() -> Option<Version> {
        CHOSEN.get()
    }

    /// Asserts that all versions that the processor has make the same of `work`, on this thread alone.
    pub(crate) fn assert_same_bits(work: impl Fn() -> Vec<u64>) {
        let made_by = |version| {
            CHOSEN.set(Some(version));
            let found = work();
            CHOSEN.set(None);
            found
        };
        let expected = made_by(Version::Baseline);
        for version in [Version::Avx2, Version::Avx512] {
            if version <= Version::of_processor() {
                assert_eq!(made_by(version), expected, "{version:?}");
            }
        }
    }

    /// The bits of numbers. All NaN are one: which of two a sum keeps is for the compiler to choose.
    pub(crate) fn bits(values: impl IntoIterator<Item = f64>) -> Vec<u64> {
        let bits = |value: f64| if value.is_nan() { u64::MAX } else { value.to_bits() };
        values.into_iter().map(bits).collect()
    }

    /// As many numbers of both signs, with zeros of both signs and, if `with_nan`, NaN among them.
    pub(crate) fn samples(length: usize, with_nan: bool) -> Vec<f32> {
        let sample = |i: usize| match i % 13 {
            5 => 0.0,
            9 => -0.0,
            11 if with_nan => f32::NAN,
            _ => ((i * 37) % 101) as f32 / 7.0 - 7.0,
        };
        (0..length).map(sample).collect()
    }

    #[test]
    fn versions_are_chosen_and_forgotten() {
        let ran = Cell::new(Vec::new());
        assert_same_bits(|| {
            let mut versions = ran.take();
            versions.push(Version::widest());
            ran.set(versions);
            bits(samples(20, true).into_iter().map(f64::from))
        });
        let all = [Version::Baseline, Version::Avx2, Version::Avx512];
        let known = all.into_iter().filter(|version| *version <= Version::of_processor());
        assert_eq!(ran.take(), known.collect::<Vec<_>>());
        assert_eq!(Version::widest(), Version::of_processor());
    }

    #[test]
    fn limits_are_known_by_name() {
        assert_eq!(Limit::named("none"), Some(Limit::Baseline));
        assert_eq!(Limit::named("avx2"), Some(Limit::Avx2));
        assert_eq!(Limit::named("avx512"), Some(Limit::Avx512));
        assert_eq!(Limit::named(""), Some(Limit::Avx512));
        assert_eq!(Limit::named("sse"), None);
        assert!(Limit::Baseline < Limit::Avx2 && Limit::Avx2 < Limit::Avx512);
    }
}
