//! Reports of answers that are made up, whose scores are known.

use super::*;

const BOTH: [Scoring; 2] = [Scoring::Detection, Scoring::Fuzzing];

/// Texts of the groups 0 to 3, four of each, of which `right` says how many are answered right.
fn texts(right: impl Fn(usize) -> usize) -> JudgedTexts {
    let text = |group: usize, at: usize| {
        let said = (at < right(group)) == (group > 0);
        JudgedText { group, said, probability: None }
    };
    let texts = (0..4).flat_map(|group| (0..4).map(move |at| (group, at)));
    let texts = texts.map(|(group, at)| text(group, at)).collect();
    JudgedTexts { answers: 4, unread: 0, texts }
}

fn feature(number: usize, explanation: &str) -> JudgedFeature {
    JudgedFeature::new(number, Some(explanation.to_owned()))
}

fn report_of(scorings: &[Scoring], features: Vec<JudgedFeature>) -> Report {
    let data = ReportData {
        version: file::VERSION,
        model: "made-up".to_owned(),
        prompts: PROMPTS_VERSION.to_owned(),
        deciles: 3,
        scorings: scorings.to_vec(),
        features,
        too_rare: vec![(99, 7)],
        rarely_silent: Vec::new(),
    };
    Report { data: Arc::new(data) }
}

impl Report {
    /// A report of made-up answers about texts in three deciles, for tests of what shows reports. It is
    /// the same for the same arguments.
    pub(crate) fn of_tests(scorings: &[Scoring], features: usize) -> Self {
        let features = (0..features).map(|at| {
            let mut own = feature(at, &format!("words of kind {at}"));
            for (order, scoring) in scorings.iter().enumerate() {
                *own.of_mut(*scoring) = texts(|group| (at + group + order) % 5);
            }
            own
        });
        report_of(scorings, features.collect())
    }
}

#[test]
fn shares_are_pooled_and_balanced_accuracies_are_means() {
    let mut features = vec![feature(5, "a"), feature(2, "b")];
    features[0].detection = texts(|_| 4);
    features[1].detection = texts(|group| [2, 0, 3, 4][group]);
    let report = report_of(&BOTH[..1], features);
    let shares: Vec<f64> =
        report.accuracies(Scoring::Detection).unwrap().iter().map(|own| own.mean).collect();
    assert_eq!(shares, [0.75, 0.5, 0.875, 1.0]);
    // 1 of the first, and (2/4 + 7/12)/2 of the second.
    let second = (0.5 + 7.0 / 12.0) / 2.0;
    let balanced = report.balanced_accuracy(Scoring::Detection).unwrap();
    assert!((balanced.mean - (1.0 + second) / 2.0).abs() < 1e-12, "{balanced}");
    let expected = DetectionCounts::new(
        vec![vec![4, 4, 4], vec![0, 3, 4]],
        vec![vec![4; 3]; 2],
        vec![0, 2],
        vec![4, 4],
    );
    assert_eq!(report.detection().unwrap(), expected.unwrap());
    let scores = report.feature_scores();
    assert_eq!((scores[0].feature, scores[0].detection), (5, Some(1.0)));
    assert!((scores[1].detection.unwrap() - second).abs() < 1e-12);
    assert_eq!((scores[1].fuzzing, scores[1].detection_auroc, scores[1].unparsed), (None, None, 0));
    let found = report.explanations();
    assert_eq!(found.get(5).unwrap().score, Some(1.0));
    let second = found.get(2).unwrap();
    assert_eq!((second.text.as_str(), second.by.as_str()), ("b", "made-up"));
    assert_eq!(report.explanation(2).unwrap(), "b");
    assert!(report.explanation(3).unwrap_err().to_string().contains("one of the 2"));
    let fuzzing = report.fuzzing().unwrap_err().to_string();
    assert!(fuzzing.contains("`Interp::scores`"), "{fuzzing}");
    assert_eq!(report.unparsed(), (0, 2 + 8));
}

#[test]
fn intervals_hold_their_means() {
    let report = Report::of_tests(&BOTH, 12);
    for scoring in BOTH {
        let mut all = report.accuracies(scoring).unwrap();
        assert_eq!(all.len(), 4);
        all.push(report.balanced_accuracy(scoring).unwrap());
        for own in all {
            assert!(own.lower < own.mean && own.mean < own.upper, "{own}");
            assert!(0.0 <= own.lower && own.upper <= 1.0, "{own}");
        }
    }
    let same = |own: &Report| own.accuracies(Scoring::Fuzzing).unwrap();
    assert_eq!(same(&report), same(&report.clone()), "the draws are the same");
}

#[test]
fn a_single_feature_has_scores_without_intervals() {
    let mut own = feature(1, "a");
    own.detection = texts(|_| 3);
    own.detection.texts.iter_mut().for_each(|text| text.probability = Some(0.5));
    let report = report_of(&BOTH[..1], vec![own]);
    let shares = report.accuracies(Scoring::Detection).unwrap();
    assert!(shares.iter().all(|own| own.mean == 0.75 && own.lower.is_nan() && own.upper.is_nan()));
    let balanced = report.balanced_accuracy(Scoring::Detection).unwrap();
    assert!(balanced.mean == 0.75 && balanced.lower.is_nan());
    assert_eq!(report.auroc(Scoring::Detection).unwrap().mean, 0.5, "all are equally probable");
    assert!(report.to_string().contains("75 %\n"), "{report}");
}

#[test]
fn what_could_not_be_read_is_counted_and_never_scored() {
    let mut unread = feature(1, "a");
    unread.detection = JudgedTexts { answers: 4, unread: 4, texts: Vec::new() };
    let mut part = feature(2, "b");
    part.detection = JudgedTexts { unread: 1, ..texts(|_| 4) };
    let silent = JudgedFeature::new(3, None);
    let report = report_of(&BOTH[..1], vec![unread.clone(), part, silent.clone()]);
    // Three explanations and eight lists; one explanation and five lists are unread.
    assert_eq!(report.unparsed(), (6, 11));
    assert_eq!(report.detection().unwrap().features(), 1);
    assert_eq!(report.balanced_accuracy(Scoring::Detection).unwrap().mean, 1.0);
    assert_eq!(report.explanations().len(), 2);
    assert_eq!(report.explanations().get(1).unwrap().score, None);
    assert!(report.explanation(3).unwrap_err().to_string().contains("could not be read"));
    let text = report.to_string();
    assert!(text.contains("6 of 11 answers could not be read"), "{text}");
    assert!(text.contains("; features with too few contexts: 1."), "{text}");
    let nothing = report_of(&BOTH[..1], vec![unread, silent]);
    for error in [
        nothing.detection().unwrap_err(),
        nothing.accuracies(Scoring::Detection).unwrap_err(),
        nothing.balanced_accuracy(Scoring::Detection).unwrap_err(),
    ] {
        let text = error.to_string();
        assert!(text.contains("a score by detection was not found"), "{text}");
        assert!(text.contains("Of 4 answers 4 could not be read, and 1 of 2 features"), "{text}");
    }
    assert!(nothing.auroc(Scoring::Detection).is_none());
    let text = nothing.to_string();
    let decile = text.lines().find(|line| line.starts_with("decile 3")).unwrap();
    assert!(decile.ends_with('–') && text.contains("could not be read"), "{text}");
}

#[test]
fn a_saved_report_comes_back() {
    let folder = tempfile::tempdir().unwrap();
    let mut features = vec![feature(5, "a \"b\"\n<c>"), JudgedFeature::new(8, None)];
    features[0].fuzzing = texts(|group| group);
    features[0].fuzzing.texts[3].probability = Some(0.25);
    let report = report_of(&BOTH, features);
    let path = folder.path().join("new/report");
    report.save(&path).unwrap();
    for path in [path.clone(), path.join("interpretation.json")] {
        assert_eq!(Report::load(path).unwrap().data, report.data);
    }
    let file = folder.path().join("one.json");
    report.save(&file).unwrap();
    assert_eq!(Report::load(&file).unwrap().to_string(), report.to_string());
    let html = report.tables();
    assert!(html.contains("&lt;c&gt;") && !html.contains("<c>"), "{html}");
}

#[test]
fn damaged_reports_are_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("one.json");
    let report = Report::of_tests(&BOTH, 2);
    report.save(&path).unwrap();
    let whole = std::fs::read_to_string(&path).unwrap();
    let message = |text: &str| {
        assert_ne!(text, whole, "the change was made");
        std::fs::write(&path, text).unwrap();
        let message = Report::load(&path).unwrap_err().to_string();
        assert!(message.contains("one.json"), "{message}");
        message
    };
    assert!(message(&whole[..whole.len() / 2]).contains("Report::save"));
    assert!(message("{}").contains("version"));
    assert!(message(&whole.replace("\"version\":1", "\"version\":2")).contains("`version` 1"));
    assert!(message(&whole.replace("\"deciles\":3", "\"deciles\":0")).contains("at least 1"));
    assert!(message(&whole.replace("\"deciles\":3", "\"deciles\":2")).contains("at most 2"));
    assert!(message(&whole.replace("\"unread\":0", "\"unread\":5")).contains("at most 4"));
    assert!(message(&whole.replace("\"feature\":1", "\"feature\":0")).contains("feature 0 twice"));
    let said = message(&whole.replace("\"said\":true", "\"said\":true,\"probability\":1.5"));
    assert!(said.contains("from 0 to 1 of feature 0"), "{said}");
    let kind = message(&whole.replace("\"said\":true", "\"said\":1"));
    assert!(kind.contains("features[0].detection.texts["), "{kind}");
    let none = Report::load(folder.path().join("none")).unwrap_err().to_string();
    assert!(none.contains("could not read"), "{none}");
}
