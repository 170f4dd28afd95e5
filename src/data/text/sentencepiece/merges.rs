//! From scores to a list of pairs.

use std::cmp::Reverse;
use std::collections::HashSet;

use super::{LONGEST_PIECE, PieceIds, PieceKind, ScoredPiece};

/// All pairs of pieces whose union is a piece, those of the highest score first.
///
/// With all the ways to make a piece in the list, "the first pair of the list" is "the pair whose union
/// has the highest score" as long as scores differ, which those of trained models do. Of the ways to
/// make one piece, the longest left part comes first: two of them compete for the same characters only
/// in a run such as `aaaaa`, where the leftmost merges have made the longer pieces.
pub(super) fn merges(pieces: &[ScoredPiece<'_>], ids: &PieceIds<'_>) -> Vec<(String, String)> {
    let is_merged = |text: &str| {
        let piece = ids.get(text).and_then(|id| pieces.get(*id as usize));
        piece.is_some_and(|piece| piece.kind == PieceKind::Normal)
    };
    let mut order: Vec<&ScoredPiece<'_>> =
        pieces.iter().filter(|piece| piece.kind == PieceKind::Normal).collect();
    order.sort_by(|a, b| b.score.total_cmp(&a.score));
    let mut pairs = Vec::new();
    for piece in order {
        let mut cuts: Vec<usize> = piece.text.char_indices().skip(1).map(|(at, _)| at).collect();
        cuts.sort_unstable_by_key(|at| Reverse(*at));
        for at in cuts {
            let (left, right) = piece.text.split_at(at);
            if is_merged(left) && is_merged(right) {
                pairs.push((left.to_owned(), right.to_owned()));
            }
        }
    }
    pairs
}

/// How many pieces out of use merging would come by: single characters, and unions of two pieces.
pub(super) fn passed(pieces: &[ScoredPiece<'_>]) -> usize {
    let is_met = |piece: &&ScoredPiece<'_>| {
        let is_kind = matches!(piece.kind, PieceKind::Normal | PieceKind::Unused);
        is_kind && (1..=LONGEST_PIECE).contains(&piece.text.len())
    };
    let known: HashSet<&str> = pieces.iter().filter(is_met).map(|piece| piece.text).collect();
    let is_passed = |text: &str| {
        let mut cuts = text.char_indices().skip(1).map(|(at, _)| text.split_at(at)).peekable();
        cuts.peek().is_none()
            || cuts.any(|(left, right)| known.contains(left) && known.contains(right))
    };
    let unused = pieces.iter().filter(is_met).filter(|piece| piece.kind == PieceKind::Unused);
    unused.filter(|piece| is_passed(piece.text)).count()
}
