//! The largest eigenvalues of many symmetric matrices that are known by their products alone.
//!
//! Block Lanczos: from b random orthonormal vectors Q₁ it builds an orthonormal basis
//! `Q = [Q₁ … Qⱼ]` of the space of `Q₁, SQ₁, …, S^(j−1) Q₁`, and takes the eigenvalues θ
//! of the small `T = Qᵀ S Q` for those of S. With
//!
//! ```text
//! S Q = Q T + Qⱼ₊₁ B Eᵀ
//! ```
//!
//! (E the last b columns of the identity) the pair of θᵢ and Q sᵢ misses being an eigenpair by
//! exactly `rᵢ = ‖B Eᵀ sᵢ‖`, which costs nothing to know. The whole basis is kept
//! orthogonal, twice in each step: without that, copies of eigenvalues would appear.
//!
//! b is one more than the number of eigenvalues that are asked for. With just as many, a large
//! eigenvalue whose vector is nearly orthogonal to all of Q₁ can hide until the others have settled:
//! over spectra full of ties, 12 of 1,316 runs missed their bound, and with one more none of 1,060.

mod krylov;
mod magnitude;
mod ritz;
mod start;

use crate::progress::Progress;
use crate::{Error, Result};
use rayon::prelude::*;

use krylov::Krylov;
pub(crate) use magnitude::Magnitude;
pub(crate) use ritz::Largest;
pub(crate) use start::Start;

/// Vectors a block beyond the eigenvalues asked for.
const MORE: usize = 1;
/// Matrices whose eigenvectors tell what the bases of later ones begin with.
const PILOTS: usize = 64;
/// The seed of the vectors to begin with.
const SEED: u64 = 0;

/// Symmetric matrices `[d, d]`, all of one size, known by their products.
pub(crate) trait Symmetric {
    /// d.
    fn size(&self) -> usize;

    /// How many vectors are best multiplied together.
    fn together(&self) -> usize;

    /// Products of matrices with `block` vectors each: `vectors` are rows `[which.len() · block, d]`,
    /// of which the first `block` go with the first of `which`, and so are the results.
    fn products(&self, which: &[usize], block: usize, vectors: &[f32]) -> Result<Vec<f32>>;

    /// Products of matrices with the same `vectors`, rows `[block, d]`; the results as in
    /// [`Symmetric::products`].
    fn products_with_same(&self, which: &[usize], vectors: &[f32]) -> Result<Vec<f32>>;
}

/// Whether the k largest of d eigenvalues are few enough for [`largest`].
pub(crate) fn is_worth_it(d: usize, k: usize) -> bool {
    d >= 64 && 8 * (k + MORE) <= d
}

/// When a sum of magnitudes is known well enough.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Until {
    /// As a share of the sum.
    pub(crate) accuracy: f64,
    /// What lies below it is of no interest.
    pub(crate) bar: f64,
}

/// What [`largest`] begins with, which learns from one call for the next.
pub(crate) fn start(matrices: &impl Symmetric, k: usize) -> Result<Start> {
    Start::random(k + MORE, matrices.size())
}

/// The `k` largest eigenvalues by magnitude of each of `which`, in that order. The sum of their
/// magnitudes is right within `accuracy` times itself, by the bound of [`Largest`]. Where the basis
/// grows to half of d before that, there is none: those are better computed from their entries.
/// Matrices whose sum is certain to be below `bar` are left at what is known of them by then.
/// `start` comes from [`start`] with the same k.
pub(crate) fn largest(
    matrices: &impl Symmetric,
    which: &[usize],
    k: usize,
    Until { accuracy, bar }: Until,
    start: &mut Start,
    progress: &mut Progress,
) -> Result<Vec<Option<Largest>>> {
    let look = |krylov: &mut Krylov| {
        let known = krylov.multiplied();
        if known < krylov.look || known == krylov.block {
            return None;
        }
        let found = ritz::of(krylov, k);
        let left = found.bound / (accuracy * found.sum());
        let before = krylov.seen.replace((known, left));
        // What a bar ends early is worth a look at every turn.
        krylov.look = known + if bar > 0.0 { known / 8 } else { until_next(before, known, left) };
        (found.is_within(accuracy) || found.is_below(bar)).then_some(found)
    };
    let mut found = Vec::with_capacity(which.len());
    let mut rest = which;
    if !start.has_learned() {
        let (pilots, later) = which.split_at(PILOTS.min(which.len()));
        let look = |krylov: &mut Krylov| Some((look(krylov)?, ritz::vectors(krylov, k)));
        let (own, vectors): (Vec<_>, Vec<_>) =
            grow_all(matrices, pilots, start.vectors(), look, progress)?
                .into_iter()
                .map(Option::unzip)
                .unzip();
        found.extend(own);
        if pilots.len() == PILOTS {
            start.learn(vectors.into_iter().flatten().flatten().collect())?;
        }
        rest = later;
    }
    found.extend(grow_all(matrices, rest, start.vectors(), look, progress)?);
    Ok(found)
}

/// How many vectors to multiply until the next look at eigenvalues, which at a basis of some size cost
/// as much as many products: most of those that it will take if the bound goes on falling as it did
/// since the look `before`. `left` is the bound over what is asked for.
fn until_next(before: Option<(usize, f64)>, known: usize, left: f64) -> usize {
    const SHARE: f64 = 0.7;
    let expected = match before {
        Some((earlier, more)) if left < more => {
            (known - earlier) as f64 * left.ln() / (more / left).ln()
        }
        _ => 0.0,
    };
    // Not finite where there is nothing to go by.
    ((SHARE * expected) as usize).clamp(known / 8, known / 2)
}

/// Estimates of `Σ|λ|` of each of `which`, of which `squares` are `Σλ²`, from `probes` random vectors,
/// in that order. Where the basis grows to half of d before an estimate settles, there is none.
pub(crate) fn magnitudes(
    matrices: &impl Symmetric,
    which: &[usize],
    squares: &[f64],
    probes: usize,
    progress: &mut Progress,
) -> Result<Vec<Option<Magnitude>>> {
    let look = |krylov: &mut Krylov| {
        let known = krylov.multiplied();
        if known < krylov.look.max(magnitude::FEWEST * probes) {
            return None;
        }
        krylov.look = known + magnitude::STEPS * probes;
        let found = Magnitude::of(krylov, squares[krylov.place]);
        found.is_settled().then_some(found)
    };
    let start = Start::random(probes, matrices.size())?;
    grow_all(matrices, which, start.vectors(), look, progress)
}

/// Grows a basis from `start`, rows `[block, d]`, for each of `which` until `look` has a result, or
/// without one before it is beyond half of d.
fn grow_all<R: Clone + Send>(
    matrices: &impl Symmetric,
    which: &[usize],
    start: &[f32],
    look: impl Fn(&mut Krylov) -> Option<R> + Sync,
    progress: &mut Progress,
) -> Result<Vec<Option<R>>> {
    let d = matrices.size();
    let block = start.len() / d;
    let most = (matrices.together() / block).max(2);
    let mut found: Vec<Option<R>> = vec![None; which.len()];
    let mut waiting = 0..which.len();
    let mut active: Vec<Krylov> = Vec::new();
    let mut done = 0;
    loop {
        let room = most - active.len();
        let mut fresh: Vec<Krylov> =
            waiting.by_ref().take(room).map(|place| Krylov::new(place, start, d)).collect();
        if let Some(vectors) = fresh.first().map(|one| one.last().to_vec()) {
            let asked: Vec<usize> = fresh.iter().map(|one| which[one.place]).collect();
            let products = matrices.products_with_same(&asked, &vectors)?;
            // The first step never ends it.
            fresh
                .par_iter_mut()
                .zip(products.par_chunks(block * d))
                .for_each(|(one, products)| one.grow(products));
            active.extend(fresh);
        }
        if active.is_empty() {
            return Ok(found);
        }
        let asked: Vec<usize> = active.iter().map(|one| which[one.place]).collect();
        let vectors: Vec<&[f32]> = active.iter().map(Krylov::last).collect();
        let products = matrices.products(&asked, block, &vectors.concat())?;
        let results: Vec<Option<R>> = active
            .par_iter_mut()
            .zip(products.par_chunks(block * d))
            .map(|(one, products)| {
                one.grow(products);
                look(one)
            })
            .collect();
        let mut results = results.into_iter();
        let before = active.len();
        active.retain(|one| match results.next().flatten() {
            Some(result) => {
                found[one.place] = Some(result);
                false
            }
            None => !one.is_full(),
        });
        let count = before - active.len();
        done += count;
        if progress.advance(count as u64) && done < which.len() {
            return Err(Error::Interrupted { what: "the eigenvalues".to_owned() });
        }
    }
}

#[cfg(test)]
mod tests;
