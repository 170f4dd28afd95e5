//! Which vector instructions the loops of this library use.
//!
//! The library is compiled for every processor of its kind; loops that gain from more are compiled
//! once more for AVX2 and AVX-512, and the processor is asked when they run. The environment variable
//! `EIGENLENS_SIMD` (`none`, `avx2`, `avx512`) holds them to less than the processor has.

#[cfg(target_arch = "x86_64")]
use std::sync::OnceLock;

/// The environment variable that limits which instructions are used.
#[cfg(target_arch = "x86_64")]
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
#[cfg(target_arch = "x86_64")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Limit {
    Baseline,
    Avx2,
    Avx512,
}

#[cfg(target_arch = "x86_64")]
impl Limit {
    fn of_environment() -> Self {
        static FOUND: OnceLock<Limit> = OnceLock::new();
        *FOUND.get_or_init(|| match std::env::var(LIMIT) {
            Ok(value) => Self::named(&value).unwrap_or_else(|| {
                eprintln!("{LIMIT} is `{value}`: expected none, avx2 or avx512; it is ignored");
                Self::Avx512
            }),
            Err(_) => Self::Avx512,
        })
    }

    fn named(value: &str) -> Option<Self> {
        match value {
            "none" => Some(Self::Baseline),
            "avx2" => Some(Self::Avx2),
            "avx512" | "" => Some(Self::Avx512),
            _ => None,
        }
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
        std::arch::is_aarch64_feature_detected!("neon").then_some(Self(()))
    }
}

/// Which of the versions of a [`vectorised`] function runs.
#[cfg(target_arch = "x86_64")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Version {
    Baseline,
    Avx2,
    Avx512,
}

#[cfg(target_arch = "x86_64")]
impl Version {
    #[inline]
    pub(crate) fn widest() -> Self {
        match (Avx512::detect(), Avx2::detect()) {
            (Some(_), _) => Self::Avx512,
            (None, Some(_)) => Self::Avx2,
            (None, None) => Self::Baseline,
        }
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

/// The instructions that loops here use, in words: for reports of speed.
pub fn simd_in_use() -> String {
    #[cfg(target_arch = "x86_64")]
    return match (Avx512::detect(), Avx2::detect()) {
        (Some(Avx512 { vnni: true, .. }), _) => "AVX-512 with VNNI".to_owned(),
        (Some(_), _) => "AVX-512".to_owned(),
        (None, Some(_)) => "AVX2".to_owned(),
        (None, None) => "those of every x86-64".to_owned(),
    };
    #[cfg(target_arch = "aarch64")]
    return match Neon::detect() {
        Some(_) => "NEON".to_owned(),
        None => "those of every AArch64".to_owned(),
    };
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    "those of every processor of its kind".to_owned()
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use super::*;

    #[test]
    fn limits_are_known_by_name() {
        assert_eq!(Limit::named("none"), Some(Limit::Baseline));
        assert_eq!(Limit::named("avx2"), Some(Limit::Avx2));
        assert_eq!(Limit::named("avx512"), Some(Limit::Avx512));
        assert_eq!(Limit::named("sse"), None);
        assert!(Limit::Baseline < Limit::Avx2 && Limit::Avx2 < Limit::Avx512);
    }
}
