//! Which features are in a plan, and what it does not depend on.

use super::*;

#[test]
fn a_plan_depends_on_seed_and_feature_alone() {
    let world = world();
    let plan = world.plan(&options());
    let again = world.plan(&options());
    assert_eq!(plan.planned(), again.planned());
    for batch in [1, 64, 1_000] {
        let other = world.plan(&Interp { batch, ..options() });
        assert_eq!(plan.planned(), other.planned(), "batches of {batch}");
    }
    let own = by_feature(&plan);
    for feature in [2, BEGIN] {
        let alone = world.plan(&Interp { only: Some(vec![feature]), ..options() });
        assert_eq!(alone.planned(), std::slice::from_ref(own[&feature]));
    }
    let other = world.plan(&Interp { seed: 4, ..options() });
    for (a, b) in plan.planned().iter().zip(other.planned()) {
        // The strongest are the strongest whatever is drawn.
        assert_eq!((a.feature, &a.explained), (b.feature, &b.explained));
        assert_ne!(a.texts, b.texts);
        assert_ne!(a.detection, b.detection);
    }
}

#[test]
fn features_are_drawn_until_there_are_enough() {
    let world = world();
    let drawn = Interp { only: None, features: 6, ..options() };
    let plan = world.plan(&drawn);
    let all = world.plan(&options());
    let known = by_feature(&all);
    assert_eq!(plan.planned().len(), 6);
    for own in plan.planned() {
        assert_eq!(own, known[&own.feature]);
    }
    let different: HashSet<usize> = plan.features().into_iter().collect();
    assert_eq!(different.len(), 6);
    // A smaller plan is the beginning of a larger one.
    let fewer = world.plan(&Interp { features: 2, ..drawn.clone() });
    assert_eq!(fewer.planned(), &plan.planned()[..2]);
    let orders: HashSet<Vec<usize>> =
        (0..5).map(|seed| world.plan(&Interp { seed, ..drawn.clone() }).features()).collect();
    assert!(orders.len() > 1);
    // What there is, if that is less than was asked for.
    let most = world.plan(&Interp { features: 100, ..drawn });
    assert_eq!(most.planned().len(), 10);
    assert!(most.to_string().contains("only 10 features of 12 that were looked at"), "{most}");
}

#[test]
fn features_without_enough_texts_are_told() {
    let world = world();
    let plan = world.plan(&options());
    assert_eq!((plan.too_rare(), plan.rarely_silent()), (&[(RARE, 3)][..], &[ALWAYS][..]));
    let text = plan.to_string();
    for part in [
        "plan for 10 features of planted features\n",
        "texts of 8 tokens, from 300 contexts",
        "1 feature active in fewer than 30 contexts: 8 (3)",
        "1 feature silent in too few contexts: 9",
        "1 request to explain 4 texts, 7 for detection of 25, 7 for fuzzing of 25",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
    let count = |what: &str| {
        let at = text.find(what).unwrap_or_else(|| panic!("{what} in {text}"));
        let number = text[..at].trim_end().rsplit(' ').next().unwrap();
        number.parse::<usize>().unwrap()
    };
    let short = (0..CONTEXTS).filter(|context| world.ids(*context).len() < EXCERPT).count();
    assert!(short > 0);
    assert_eq!(count("of them left out as too short"), short);
    let equal = CONTEXTS - short - world.different().len();
    assert!(equal >= 2 * (CONTEXTS / 17));
    assert_eq!(count("of them left out as equal to others"), equal);
    // The limit is the number of different contexts.
    let contexts = by_feature(&plan)[&3].contexts;
    let only = Some(vec![3]);
    let exact = Interp { min_contexts: contexts, only: only.clone(), ..options() };
    assert_eq!(world.plan(&exact).features(), [3]);
    let error = world.error(&Interp { min_contexts: contexts + 1, only, ..options() });
    assert!(error.contains(&format!("3 is active in the most, {contexts}")), "{error}");
    let error = world.error(&Interp { only: Some(vec![ALWAYS]), ..options() });
    assert!(error.contains("active in nearly every context"), "{error}");
}

#[test]
fn excerpts_are_as_long_as_nine_contexts_in_ten() {
    let world = world();
    let plan = world.plan(&Interp { excerpt: 1_000, only: Some(vec![1]), ..options() });
    let mut lengths: Vec<usize> = (0..CONTEXTS).map(|context| world.ids(context).len()).collect();
    lengths.sort_unstable();
    let length = lengths[CONTEXTS / 10];
    assert!(length < LENGTH - 1 && length > EXCERPT, "{length}");
    let own = &plan.planned()[0];
    for text in &own.texts {
        let ids = world.ids(text.context);
        assert!(ids.len() >= length && text.start + length <= ids.len());
        let shown = text.excerpt.tokens.concat().replace('\u{fffd}', "");
        assert_eq!(shown, world.whole(&ids[text.start..text.start + length]));
    }
    let told = format!("texts of {length} tokens, because one context in ten has no more");
    assert!(plan.to_string().contains(&told), "{plan}");
    // Contexts that are all equally short are shown whole.
    let tokens: Vec<u32> = (0..40u32)
        .flat_map(|at| {
            let letters = &world.letters;
            [
                256,
                letters[(at % 5) as usize],
                letters[(at / 5 + 5) as usize],
                letters[(at % 8 + 20) as usize],
            ]
        })
        .collect();
    let contexts = Contexts::new(4, tokens).unwrap();
    let small =
        Interp { explained: 2, deciles: 2, min_contexts: 4, only: Some(vec![0]), ..options() };
    let plan = small.plan(&world.model, &world.reader, &contexts).unwrap();
    let texts = &plan.planned()[0].texts;
    assert!(!texts.is_empty());
    assert!(texts.iter().all(|text| text.start == 0 && text.excerpt.tokens.len() == 3));
}

#[test]
fn tokens_that_are_skipped_neither_count_nor_show() {
    let mut world = world();
    let [first, second] = [world.letters[0], world.letters[1]];
    let shows = |plan: &Plan, token: u32| {
        let text = world.tokenizer.token(token).unwrap();
        let own = &plan.planned()[0];
        let mut texts = own.texts.iter().map(|own| &own.excerpt).chain(&own.explained);
        texts.any(|own| own.tokens.contains(&text))
    };
    let only = Interp { only: Some(vec![0]), ..options() };
    let plan = world.plan(&only);
    assert!(shows(&plan, first) && shows(&plan, second));
    let skipping = Interp { skip_tokens: Some(vec![first]), ..only.clone() };
    let other = world.plan(&skipping);
    assert!(!shows(&other, first) && shows(&other, second));
    assert!(other.planned()[0].contexts < plan.planned()[0].contexts);
    // Special tokens are left out whatever is skipped.
    let none = world.plan(&Interp { skip_tokens: Some(Vec::new()), ..only.clone() });
    assert_eq!(none.planned(), plan.planned());
    // What was left out of the training is left out, unless something else is asked for.
    world.reader.skipped = vec![first];
    assert_eq!(world.plan(&only).planned(), other.planned());
    assert_eq!(
        world.plan(&Interp { skip_tokens: Some(Vec::new()), ..only }).planned(),
        plan.planned()
    );
    let all: Vec<u32> = (0..256).collect();
    let error = world.error(&Interp { skip_tokens: Some(all), ..options() });
    assert!(error.contains("`skip_tokens`"), "{error}");
}

#[test]
fn options_that_cannot_be_are_named() {
    let world = world();
    for (bad, part) in [
        (Interp { explained: 0, ..options() }, "`explained`"),
        (Interp { excerpt: 0, ..options() }, "`excerpt`"),
        (Interp { batch: 0, ..options() }, "`batch`"),
        (Interp { min_contexts: 8, ..options() }, "`min_contexts` must be at least 9"),
        (Interp { scores: Vec::new(), ..options() }, "`scores`"),
        (Interp { scores: vec![Scoring::Fuzzing; 2], ..options() }, "each once"),
        (Interp { only: Some(Vec::new()), ..options() }, "`only`"),
        (Interp { only: Some(vec![1, 12]), ..options() }, "features below 12, found 12"),
        (Interp { only: Some(vec![5, 1, 5]), ..options() }, "named once each, found 5"),
    ] {
        let error = world.error(&bad);
        assert!(error.contains(part), "{part}: {error}");
    }
    // A model without a tokenizer has no texts to show.
    let mute = crate::harvest::tests::model();
    let error = options().plan(&mute, &world.reader, &world.contexts).unwrap_err().to_string();
    assert!(error.contains("tokenizer"), "{error}");
}

#[test]
fn codes_of_another_shape_are_refused() {
    #[derive(Debug)]
    struct ShortReader;
    impl fmt::Display for ShortReader {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("short")
        }
    }
    impl FeatureReader for ShortReader {
        fn features(&self) -> usize {
            12
        }
        fn point(&self) -> Result<HookPoint> {
            Ok(HookPoint::ResidPost(0))
        }
        fn read(&self, _: &Decoder, _: &Tensor) -> Result<Codes> {
            Codes::new(12, [vec![]])
        }
    }
    let world = world();
    let error =
        options().plan(&world.model, &ShortReader, &world.contexts).unwrap_err().to_string();
    assert!(error.contains("the codes") && error.contains("168 rows of 12"), "{error}");
}
