//! How a GGUF file stores the numbers of a tensor.

use std::fmt;

macro_rules! types {
    ($($number:literal $name:ident $text:literal $block:literal $bytes:literal),* $(,)?) => {
        /// How the numbers of a tensor are stored, under ggml's names. A quantised type stores a
        /// row block by block.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[allow(non_camel_case_types, missing_docs)]
        #[non_exhaustive]
        pub enum TensorType { $($name),* }

        impl TensorType {
            /// The type that files call `number`.
            pub(super) fn from_number(number: u32) -> Option<Self> {
                match number {
                    $($number => Some(Self::$name),)*
                    _ => None,
                }
            }

            /// Numbers of a block, and the bytes they take.
            pub(super) fn block(self) -> (u64, u64) {
                match self { $(Self::$name => ($block, $bytes)),* }
            }

            fn name(self) -> &'static str {
                match self { $(Self::$name => $text),* }
            }
        }

        /// Every type, with the number that files have for it.
        pub(super) const ALL: &[(u32, TensorType)] = &[$(($number, TensorType::$name)),*];
    };
}

types! {
    0 F32 "F32" 1 4,
    1 F16 "F16" 1 2,
    2 Q4_0 "Q4_0" 32 18,
    3 Q4_1 "Q4_1" 32 20,
    6 Q5_0 "Q5_0" 32 22,
    7 Q5_1 "Q5_1" 32 24,
    8 Q8_0 "Q8_0" 32 34,
    9 Q8_1 "Q8_1" 32 36,
    10 Q2_K "Q2_K" 256 84,
    11 Q3_K "Q3_K" 256 110,
    12 Q4_K "Q4_K" 256 144,
    13 Q5_K "Q5_K" 256 176,
    14 Q6_K "Q6_K" 256 210,
    15 Q8_K "Q8_K" 256 292,
    16 IQ2_XXS "IQ2_XXS" 256 66,
    17 IQ2_XS "IQ2_XS" 256 74,
    18 IQ3_XXS "IQ3_XXS" 256 98,
    19 IQ1_S "IQ1_S" 256 50,
    20 IQ4_NL "IQ4_NL" 32 18,
    21 IQ3_S "IQ3_S" 256 110,
    22 IQ2_S "IQ2_S" 256 82,
    23 IQ4_XS "IQ4_XS" 256 136,
    24 I8 "I8" 1 1,
    25 I16 "I16" 1 2,
    26 I32 "I32" 1 4,
    27 I64 "I64" 1 8,
    28 F64 "F64" 1 8,
    29 IQ1_M "IQ1_M" 256 56,
    30 BF16 "BF16" 1 2,
    34 TQ1_0 "TQ1_0" 256 54,
    35 TQ2_0 "TQ2_0" 256 66,
    39 MXFP4 "MXFP4" 32 17,
}

impl fmt::Display for TensorType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
