//! The weights that a kind has beyond those of all kinds.

use crate::Result;

/// Sums over the activations of a batch, an entry per feature.
#[derive(Debug)]
pub(crate) struct PerFeature {
    /// Gradients with respect to h through the codes.
    pub(crate) h: Vec<f64>,
    /// Gradients with respect to h through the auxiliary codes.
    pub(crate) auxiliary: Vec<f64>,
    /// [`Gradient::extras`](super::rule::Gradient::extras).
    pub(crate) extras: [Vec<f64>; 2],
}

/// Named weights with an entry per feature: a struct that can hold any representation of them, such
/// as numbers, tensors or gradients.
pub(crate) trait ExtraWeights {
    /// The struct with fields of type T.
    type Of<T: Send + Sync>: Send + Sync;

    /// All, in the order of their names.
    fn list<T: Send + Sync>(of: Self::Of<T>) -> Vec<T>;

    /// A reference to each.
    fn refs<T: Send + Sync>(of: &Self::Of<T>) -> Self::Of<&T>;

    /// A mutable reference to each.
    fn refs_mut<T: Send + Sync>(of: &mut Self::Of<T>) -> Self::Of<&mut T>;

    /// What `change` makes of each.
    fn try_map<T: Send + Sync, U: Send + Sync>(
        of: Self::Of<T>,
        change: impl FnMut(T) -> Result<U>,
    ) -> Result<Self::Of<U>>;

    /// The gradient of each.
    fn gradients(sums: &PerFeature) -> Self::Of<&[f64]>;

    /// What `change` makes of each, where it cannot fail.
    fn map<T: Send + Sync, U: Send + Sync>(
        of: Self::Of<T>,
        change: impl FnMut(T) -> U,
    ) -> Self::Of<U>;
}

/// Defines the weights that a kind has beyond those of all kinds, each with what of [`PerFeature`] is
/// its gradient.
macro_rules! extras {
    ($(#[$doc:meta])* $name:ident {
        $($(#[$field_doc:meta])* $field:ident: |$sums:ident| $gradient:expr,)*
    }) => {
        $(#[$doc])*
        #[derive(Debug, Clone)]
        pub(crate) struct $name<T> {
            $($(#[$field_doc])* pub(crate) $field: T,)*
        }

        impl $crate::sae::kind::extras::ExtraWeights for $name<()> {
            type Of<T: Send + Sync> = $name<T>;

            fn list<T: Send + Sync>(of: $name<T>) -> Vec<T> {
                vec![$(of.$field,)*]
            }

            fn refs<T: Send + Sync>(of: &$name<T>) -> $name<&T> {
                $name { $($field: &of.$field,)* }
            }

            fn refs_mut<T: Send + Sync>(of: &mut $name<T>) -> $name<&mut T> {
                $name { $($field: &mut of.$field,)* }
            }

            fn try_map<T: Send + Sync, U: Send + Sync>(
                of: $name<T>,
                mut change: impl FnMut(T) -> $crate::Result<U>,
            ) -> $crate::Result<$name<U>> {
                Ok($name { $($field: change(of.$field)?,)* })
            }

            fn gradients(sums: &$crate::sae::kind::extras::PerFeature) -> $name<&[f64]> {
                $name { $($field: { let $sums = sums; $gradient },)* }
            }

            fn map<T: Send + Sync, U: Send + Sync>(of: $name<T>, mut change: impl FnMut(T) -> U) -> $name<U> {
                $name { $($field: change(of.$field),)* }
            }
        }
    };
}
pub(crate) use extras;

/// No weights.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NoExtras;

impl ExtraWeights for NoExtras {
    type Of<T: Send + Sync> = Self;

    fn list<T: Send + Sync>(_of: Self) -> Vec<T> {
        Vec::new()
    }

    fn refs<T: Send + Sync>(_of: &Self) -> Self {
        Self
    }

    fn refs_mut<T: Send + Sync>(_of: &mut Self) -> Self {
        Self
    }

    fn try_map<T: Send + Sync, U: Send + Sync>(
        _of: Self,
        _change: impl FnMut(T) -> Result<U>,
    ) -> Result<Self> {
        Ok(Self)
    }

    fn gradients(_sums: &PerFeature) -> Self {
        Self
    }

    fn map<T: Send + Sync, U: Send + Sync>(_of: Self, _change: impl FnMut(T) -> U) -> Self {
        Self
    }
}
