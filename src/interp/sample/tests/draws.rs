//! Every rule of the draws, against a look at everything.

use super::*;
use crate::interp::prompts::ShownExcerpt;

/// Fails unless an excerpt shows the tokens of a context from `start` on, with the activations of a
/// feature.
fn check_excerpt(world: &PlantedWorld, own: &ShownExcerpt, feature: usize, place: (usize, usize)) {
    let (context, start) = place;
    let ids = world.excerpt(context, start);
    assert_eq!(own.tokens.concat().replace('\u{fffd}', ""), world.whole(&ids));
    assert_eq!(own.tokens.len(), own.activations.len());
    assert!(own.tokens.iter().all(|token| !token.is_empty() && !token.contains('<')), "{own:?}");
    let values = world.values(feature, context)[start..start + EXCERPT].to_vec();
    if own.tokens.len() == EXCERPT {
        assert_eq!(own.activations, values);
    }
    // Where several tokens make a character, the largest of their activations is its.
    let most = values.iter().copied().fold(0f32, f32::max);
    assert_eq!(own.activations.iter().copied().fold(0f32, f32::max), most);
}

fn of_group(own: &PlannedFeature, group: Group) -> Vec<&PlannedText> {
    own.texts.iter().filter(|text| text.group == group).collect()
}

/// Texts without the feature, and texts with wrong marks.
fn without(own: &PlannedFeature) -> [Vec<&PlannedText>; 2] {
    let texts = of_group(own, Group::Without);
    let (wrong, negatives) =
        texts.into_iter().partition(|text| text.excerpt.activations.iter().any(|own| *own > 0.0));
    [negatives, wrong]
}

fn positives(own: &PlannedFeature) -> Vec<&PlannedText> {
    own.texts.iter().filter(|text| text.group != Group::Without).collect()
}

#[test]
fn the_strongest_are_explained_and_all_others_are_cut_into_equal_groups() {
    let world = world();
    let plan = world.plan(&options());
    assert_eq!(plan.features(), [0, 1, 2, 3, 4, 5, 6, 7, BEGIN, EMOJI]);
    for own in plan.planned() {
        let all = world.positives(own.feature);
        assert_eq!(own.contexts, all.len(), "feature {}", own.feature);
        assert!(all.len() >= 30);
        let (strongest, rest) = all.split_at(4);
        assert_eq!(own.explained.len(), 4);
        for (excerpt, (context, start, _)) in own.explained.iter().zip(strongest) {
            check_excerpt(&world, excerpt, own.feature, (*context, *start));
        }
        let mut last_of_before: Option<usize> = None;
        for decile in 0..5 {
            let texts = of_group(own, Group::Decile(decile));
            assert_eq!(texts.len(), 3);
            let ranks: Vec<usize> = texts
                .iter()
                .map(|text| {
                    check_excerpt(&world, &text.excerpt, own.feature, (text.context, text.start));
                    let place = (text.context, text.start);
                    rest.iter().position(|(context, start, _)| (*context, *start) == place).unwrap()
                })
                .collect();
            // Groups follow each other, each with the fifth of the contexts that is its own.
            assert!(ranks.iter().all(|rank| last_of_before.is_none_or(|last| *rank > last)));
            last_of_before = ranks.iter().max().copied();
            let (count, middle) = (rest.len() as f64 / 5.0, (decile as f64 + 0.5) / 5.0);
            for rank in &ranks {
                let off = (*rank as f64 + 0.5 - middle * rest.len() as f64).abs();
                assert!(off <= count / 2.0 + 1.0, "{rank} of {} in {decile}", rest.len());
            }
            let different: HashSet<&usize> = ranks.iter().collect();
            assert_eq!(different.len(), 3);
        }
    }
}

#[test]
fn groups_hold_every_context_if_all_are_drawn() {
    let world = world();
    let all = Interp { per_decile: 1_000, only: Some(vec![2]), ..options() };
    let plan = world.plan(&all);
    let own = &plan.planned()[0];
    let sizes: Vec<usize> =
        (0..5).map(|decile| of_group(own, Group::Decile(decile)).len()).collect();
    assert_eq!(sizes.iter().sum::<usize>() + 4, own.contexts);
    assert!(sizes.iter().max().unwrap() - sizes.iter().min().unwrap() <= 1, "{sizes:?}");
    let most = |text: &&PlannedText| text.excerpt.activations.iter().copied().fold(0f32, f32::max);
    for decile in 0..4 {
        let (strong, weak) =
            (of_group(own, Group::Decile(decile)), of_group(own, Group::Decile(decile + 1)));
        let least = strong.iter().map(most).fold(f32::INFINITY, f32::min);
        assert!(least >= weak.iter().map(most).fold(0f32, f32::max));
    }
}

#[test]
fn negatives_are_silent_and_begin_where_positives_do() {
    let world = world();
    let plan = world.plan(&options());
    for own in plan.planned() {
        let [negatives, _] = without(own);
        assert_eq!(negatives.len(), 10);
        let mut starts: HashMap<usize, isize> = HashMap::new();
        positives(own).iter().for_each(|text| *starts.entry(text.start).or_default() += 1);
        for text in &negatives {
            assert!(world.values(own.feature, text.context).iter().all(|value| *value == 0.0));
            check_excerpt(&world, &text.excerpt, own.feature, (text.context, text.start));
            *starts.entry(text.start).or_default() -= 1;
            assert!(text.marks.iter().all(|mark| !mark) && !text.marks_are_right);
        }
        // Ten negatives of fifteen positives: each start is used once for each of its positives.
        assert!(starts.values().all(|left| *left >= 0), "{starts:?}");
    }
}

#[test]
fn starts_are_used_in_turn_where_there_are_more_negatives() {
    let world = world();
    let many = Interp { negatives: 40, only: Some(vec![0, BEGIN]), ..options() };
    for own in world.plan(&many).planned() {
        let [negatives, _] = without(own);
        assert_eq!(negatives.len(), 40);
        let count = |texts: &[&PlannedText]| {
            let mut starts: HashMap<usize, usize> = HashMap::new();
            texts.iter().for_each(|text| *starts.entry(text.start).or_default() += 1);
            starts
        };
        let (with, silent) = (count(&positives(own)), count(&negatives));
        for (start, count) in silent {
            // Three rounds at most, of fifteen.
            assert!(count <= 3 * with[&start], "{count} at {start}");
        }
    }
}

#[test]
fn no_text_is_shown_twice_or_both_explained_and_judged() {
    let world = world();
    for own in world.plan(&options()).planned() {
        let [negatives, _] = without(own);
        let explained = world.positives(own.feature)[..4].to_vec();
        let explained = explained.iter().map(|(context, start, _)| (*context, *start));
        let judged = positives(own).into_iter().chain(negatives);
        let places: Vec<(usize, usize)> =
            explained.chain(judged.map(|text| (text.context, text.start))).collect();
        assert_eq!(places.len(), 4 + 15 + 10);
        let contexts: HashSet<usize> = places.iter().map(|place| place.0).collect();
        assert_eq!(contexts.len(), places.len());
        let texts: HashSet<Vec<u32>> =
            places.iter().map(|place| world.excerpt(place.0, place.1)).collect();
        assert_eq!(texts.len(), places.len());
    }
}

#[test]
fn wrong_marks_are_as_many_and_on_silent_tokens() {
    let world = world();
    for own in world.plan(&options()).planned() {
        let (right, [_, wrong]) = (positives(own), without(own));
        for text in &right {
            let active: Vec<bool> = text.excerpt.activations.iter().map(|own| *own > 0.0).collect();
            assert!(text.marks_are_right && text.marks == active && active.contains(&true));
        }
        assert_eq!(wrong.len(), 10, "as many as negatives");
        for text in &wrong {
            let same = right.iter().find(|own| own.context == text.context).unwrap();
            assert_eq!((&text.excerpt, text.start), (&same.excerpt, same.start));
            let count = |marks: &[bool]| marks.iter().filter(|mark| **mark).count();
            assert_eq!(count(&text.marks), count(&same.marks));
            let clash = text.marks.iter().zip(&same.marks).any(|(a, b)| *a && *b);
            assert!(!clash && !text.marks_are_right);
        }
        let contexts: HashSet<usize> = wrong.iter().map(|text| text.context).collect();
        assert_eq!(contexts.len(), wrong.len());
    }
}

#[test]
fn texts_without_enough_silent_tokens_have_no_wrong_marks() {
    let mut world = world();
    // Half of all letters: some excerpts have more active tokens than silent ones.
    let letters = world.letters.clone();
    world.reader.sets[0] = letters.iter().copied().take(30).collect();
    // Contexts without those letters.
    let mut tokens = world.contexts.as_slice().to_vec();
    for (context, own) in tokens.chunks_mut(LENGTH).enumerate().filter(|(at, _)| at % 4 == 1) {
        for (at, token) in own.iter_mut().enumerate().skip(1) {
            *token = letters[30 + (context * 7 + at * at * (context % 5 + 1)) % 22];
        }
    }
    world.contexts = Contexts::new(LENGTH, tokens).unwrap();
    let plan = world.plan(&Interp { negatives: 15, only: Some(vec![0]), ..options() });
    let own = &plan.planned()[0];
    let (right, [_, wrong]) = (positives(own), without(own));
    let fits = |text: &&&PlannedText| {
        let marked = text.marks.iter().filter(|mark| **mark).count();
        2 * marked <= text.marks.len()
    };
    let fitting = right.iter().filter(fits).count();
    assert!(fitting < right.len() && fitting > 0, "{fitting}");
    assert_eq!(wrong.len(), fitting);
}

#[test]
fn every_text_is_asked_about_once_in_an_order_that_tells_nothing() {
    let world = world();
    for own in world.plan(&options()).planned() {
        let [negatives, wrong] = without(own);
        let place = |text: &PlannedText| own.texts.iter().position(|other| other == text).unwrap();
        for (scoring, more) in [(Scoring::Detection, negatives), (Scoring::Fuzzing, wrong)] {
            let batches = own.batches(scoring);
            assert_eq!(batches.len(), 25usize.div_ceil(4));
            assert!(batches[..6].iter().all(|batch| batch.len() == 4) && batches[6].len() == 1);
            let asked: Vec<usize> = batches.concat();
            let mut sorted = asked.clone();
            sorted.sort_unstable();
            let mut expected: Vec<usize> =
                positives(own).into_iter().chain(more).map(place).collect();
            expected.sort_unstable();
            assert_eq!(sorted, expected);
            assert_ne!(asked, sorted);
            // Neither kind comes before the other.
            let is_positive = |place: &usize| own.texts[*place].group != Group::Without;
            let first: Vec<bool> = asked[..15].iter().map(is_positive).collect();
            assert!(first.contains(&true) && first.contains(&false));
        }
    }
}
