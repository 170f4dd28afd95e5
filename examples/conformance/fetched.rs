//! Models that `eigenlens fetch` brings: tokenizer, next tokens, losses, residual streams and the days
//! of the week, against other implementations with the same weights.

use std::path::Path;

use eigenlens::candle::{DType, Device, IndexOp, Tensor};
use eigenlens::data::text::Tokenizer;
use eigenlens::model::{Decoder, HookPoint};
use eigenlens::{Error, Result};
use serde_json::Value;

use crate::json::{self, array, id, ids, numbers, text};
use crate::report::{Reference, Report};
use crate::{smollm2_circles, week};

pub(crate) fn smollm2(folder: &Path, report: &mut Report) -> Result<()> {
    let Some(model) = load("smollm2-135m-instruct", report)? else { return Ok(()) };
    compare(&model, folder, report)?;
    smollm2_circles::compare(&model, report)
}

pub(crate) fn gemma3(folder: &Path, report: &mut Report) -> Result<()> {
    let Some(model) = load("gemma-3-270m", report)? else { return Ok(()) };
    compare(&model, folder, report)?;
    let next = json::read(folder, "next_token.json")?;
    passage(&model, "long passage", &next["long_passage"], report)?;
    residual_streams(&model, &folder.join("resid_post.safetensors"), report)
}

/// None, and the case excused, where the model is not on this machine: it is not part of the
/// repository.
fn load(name: &str, report: &mut Report) -> Result<Option<Decoder>> {
    match Decoder::from_pretrained(name, &Device::Cpu) {
        Ok(model) => Ok(Some(model)),
        Err(reason @ Error::NotFound { .. }) => {
            report.excuse(&reason.to_string());
            Ok(None)
        }
        Err(reason) => Err(reason),
    }
}

/// What the cases of all models have.
fn compare(model: &Decoder, folder: &Path, report: &mut Report) -> Result<()> {
    let tokenizer = model.tokenizer()?;
    tokenization(&json::read(folder, "tokenization.json")?, &tokenizer, report)?;
    let next = json::read(folder, "next_token.json")?;
    for prompt in array(&next, "prompts")? {
        next_token(model, prompt, report)?;
    }
    passage(model, "passage", &next["passage"], report)?;
    let reference = Reference::read(&folder.join("days_of_week.safetensors"), report)?;
    let texts = json::read(folder, "days_of_week.json")?;
    let prompts = array(&texts, "prompts")?;
    let encode = |prompt: &Value| tokenizer.encode(prompt.as_str().unwrap_or_default());
    let own: Vec<Vec<u32>> = prompts.iter().map(encode).collect::<Result<_>>()?;
    let rows = reference.input("input_ids", report)?.to_dtype(DType::U32)?;
    report.check("days_of_week ids", own == rows.to_vec2::<u32>()?);
    let points = week::days_of_week(model, &reference, &texts, report)?;
    week::geometry(&json::read(folder, "geometry.json")?, &points, &reference, report)
}

fn next_token(model: &Decoder, case: &Value, report: &mut Report) -> Result<()> {
    let prompt = text(case, "prompt")?;
    let tokens = model.tokens(prompt)?;
    let own: Vec<u32> = tokens.flatten_all()?.to_vec1()?;
    report.check(&format!("{prompt:?} ids"), own == ids(case, "ids")?);
    let logits = model.logits(&tokens)?.i((0, own.len() - 1))?.to_dtype(DType::F64)?;
    let total = logits.exp()?.sum_all()?.to_scalar::<f64>()?.ln();
    let order: Vec<u32> = logits.arg_sort_last_dim(false)?.to_vec1()?;
    let logits: Vec<f64> = logits.to_vec1()?;
    let top = array(case, "top5")?;
    let found = &order[..top.len()];
    let expected: Vec<u32> = top.iter().map(|row| id(&row["id"])).collect::<Result<_>>()?;
    report.check(&format!("{prompt:?} top ids"), found == expected);
    let at =
        |values: &dyn Fn(u32) -> f64| -> Vec<f64> { found.iter().map(|i| values(*i)).collect() };
    let logit = |i: u32| logits[i as usize];
    for (what, found) in [("logit", at(&logit)), ("logprob", at(&|i| logit(i) - total))] {
        let expected = numbers(&top.iter().map(|row| row[what].clone()).collect::<Value>())?;
        report.numbers(&format!("{prompt:?} {what}s"), expected, found)?;
    }
    let gap = logit(order[top.len() - 1]) - logit(order[top.len()]);
    let expected = case["gap_5_6"].as_f64().into_iter().collect();
    report.numbers(&format!("{prompt:?} gap"), expected, vec![gap])
}

fn passage(model: &Decoder, name: &str, case: &Value, report: &mut Report) -> Result<()> {
    let tokens = model.tokens(text(case, "text")?)?;
    let own: Vec<u32> = tokens.flatten_all()?.to_vec1()?;
    report.check(&format!("{name} ids"), own == ids(case, "ids")?);
    let losses = model.loss_per_token(&tokens)?.flatten_all()?.to_dtype(DType::F64)?;
    report.numbers(&format!("{name} nll"), numbers(&case["nll"])?, losses.to_vec1()?)?;
    let mean = case["mean_nll"].as_f64().into_iter().collect();
    report.numbers(&format!("{name} mean nll"), mean, vec![losses.mean_all()?.to_scalar::<f64>()?])
}

/// Outputs of blocks at every position of every prompt.
fn residual_streams(model: &Decoder, path: &Path, report: &mut Report) -> Result<()> {
    let reference = Reference::read(path, report)?;
    let names: Vec<String> = reference.names().map(str::to_owned).collect();
    for name in &names {
        let Some(prompt) = name.strip_suffix(".ids") else { continue };
        let start = format!("{prompt}.resid_post.");
        let points: Vec<HookPoint> = names
            .iter()
            .filter_map(|name| name.strip_prefix(&start)?.parse().ok())
            .map(HookPoint::ResidPost)
            .collect();
        let tokens = reference.input(name, report)?.to_dtype(DType::U32)?.unsqueeze(0)?;
        let cache = model.activations(&tokens, &points)?;
        for point in points {
            let name = format!("{start}{}", point.layer().unwrap_or_default());
            let found = cache.get(point)?.i(0)?;
            reference.compare(&name, &found, report)?;
            // Entries at BOS are so large that they would hide errors at other positions.
            let expected = reference.input(&name, report)?;
            let lengths = expected.sqr()?.sum_keepdim(1)?.sqrt()?;
            let unit = |x: &Tensor| x.broadcast_div(&lengths);
            report.compare(&format!("{name} over length"), &unit(&expected)?, &unit(&found)?)?;
        }
    }
    Ok(())
}

/// Texts, one by one: ids with special tokens and without, and back.
fn tokenization(cases: &Value, tokenizer: &Tokenizer, report: &mut Report) -> Result<()> {
    // What the tokenizer puts before every text, such as BOS. The reference leaves it out.
    let before = tokenizer.encode("")?;
    for (i, case) in cases.as_array().into_iter().flatten().enumerate() {
        let text = text(case, "text")?;
        let plain = ids(case, "ids_without_special_parsing")?;
        let back = case["decodes_back"].as_bool() == Some(true);
        let parsed = [before.clone(), ids(case, "ids")?].concat();
        report.check(&format!("tokenization {i} ids"), tokenizer.encode(text)? == parsed);
        report.check(&format!("tokenization {i} plain"), tokenizer.encode_plain(text)? == plain);
        let same = tokenizer.decode(&plain)? == text;
        report.check(&format!("tokenization {i} back"), same == back);
        if text.is_ascii() {
            let pieces = plain.iter().map(|id| tokenizer.token(*id)).collect::<Result<String>>()?;
            report.check(&format!("tokenization {i} pieces"), pieces == text);
        }
    }
    Ok(())
}
