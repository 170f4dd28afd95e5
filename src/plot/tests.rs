//! What the figures say, read back from their JSON and files.

use candle_core::{DType, Device, Tensor};
use serde_json::{Value, json};

use super::*;
use crate::Result;
use crate::random::Rng;

pub(crate) fn json_of(figure: &Figure) -> Value {
    serde_json::from_str(&figure.to_json()).unwrap()
}

/// The text of a title or tick, without its markup.
pub(crate) fn plain(text: &Value) -> String {
    let text = text.as_str().unwrap();
    let inner = text.strip_prefix("<span").and_then(|rest| rest.strip_suffix("</span>"));
    inner.and_then(|rest| rest.split_once('>')).map_or(text, |(_, words)| words).to_owned()
}

pub(crate) fn normal(shape: &[usize]) -> Result<Tensor> {
    Rng::seed(3).normal(shape, &Device::Cpu)
}

/// Text of the error of `result`.
pub(crate) fn message<T>(result: Result<T>) -> String {
    result.err().map(|e| e.to_string()).unwrap()
}

#[test]
fn an_image_carries_its_data_as_rows() -> Result<()> {
    let image = Tensor::new(&[[1_f32, -2.0, 0.5], [0.0, 3.0, 4.0]], &Device::Cpu)?;
    let json = json_of(&imshow(&image)?.midpoint(1.0));
    assert_eq!(json["data"][0]["z"], json!([[1.0, -2.0, 0.5], [0.0, 3.0, 4.0]]));
    // Furthest from 1 are -2 and 4.
    let colours = &json["layout"]["coloraxis"];
    assert_eq!((&colours["cmin"], &colours["cmax"]), (&json!(-2.0), &json!(4.0)));
    assert_eq!(colours["colorscale"][0], json!([0.0, "#67001f"]));
    assert_eq!(colours["colorscale"][10], json!([1.0, "#053061"]));
    // Row 0 at the top.
    assert_eq!(json["layout"]["yaxis"]["range"], json!([1.5, -0.5]));
    Ok(())
}

#[test]
fn facets_share_one_colour_axis() -> Result<()> {
    let figure = imshow(&normal(&[12, 4, 4])?)?.midpoint(0.0).facet_col_wrap(4)?;
    let json = json_of(&figure.facet_titles((0..12).map(|i| format!("class {i}")))?);
    let traces = json["data"].as_array().unwrap();
    assert_eq!(traces.len(), 12);
    assert!(traces.iter().all(|t| t["coloraxis"] == "coloraxis"));
    assert_eq!(traces[11]["xaxis"], "x12");
    let layout = json["layout"].as_object().unwrap();
    assert!(!layout.contains_key("coloraxis2"));
    assert_eq!(
        layout["coloraxis"]["cmin"].as_f64(),
        layout["coloraxis"]["cmax"].as_f64().map(|c| -c)
    );
    assert_eq!(plain(&layout["annotations"][11]["text"]), "class 11");
    assert_eq!(layout["xaxis12"]["matches"], "x");
    // Ticks at the left column and the bottom row only.
    let shown = |axis: &str| layout[axis]["showticklabels"] == true;
    assert!(shown("yaxis") && !shown("yaxis2") && shown("yaxis5"));
    assert!(!shown("xaxis") && shown("xaxis9"));
    Ok(())
}

#[test]
fn panels_keep_apart() -> Result<()> {
    let parts = (0..5).map(|i| Ok(line([1.0, i as f64])?.title("t").x_title("x").y_title("y")));
    let figure = grid(parts.collect::<Result<Vec<_>>>()?, 2)?.title("all");
    for figure in [figure.clone().width(400), figure.clone().height(500), figure] {
        let page = figure.page();
        for (i, a) in page.panels.iter().enumerate() {
            let r = a.rect;
            assert!(r.x > 30.0 && r.x + r.w < page.width && r.y > 30.0 && r.y + r.h < page.height);
            for b in &page.panels[i + 1..] {
                let apart = r.x + r.w + 30.0 < b.rect.x
                    || b.rect.x + b.rect.w + 30.0 < r.x
                    || r.y + r.h + 30.0 < b.rect.y
                    || b.rect.y + b.rect.h + 30.0 < r.y;
                assert!(apart, "{r:?} and {:?}", b.rect);
            }
        }
    }
    Ok(())
}

#[test]
fn width_and_height_are_met() -> Result<()> {
    let image = imshow(&normal(&[3, 10, 20])?)?;
    let natural = image.page();
    let page = image.clone().width(1000).page();
    assert!((page.width - 1000.0).abs() < 1.0 && page.height > natural.height);
    let chart = line([1.0, 2.0])?.height(333);
    assert!((chart.page().height - 333.0).abs() < 1.0);
    assert_eq!(json_of(&chart)["layout"]["height"], 333.0);
    Ok(())
}

#[test]
fn labels_are_text_and_may_repeat() -> Result<()> {
    let figure = imshow(&normal(&[1, 3])?)?.x_labels(["<s>", "the", "the"])?.axis_on_top();
    let json = json_of(&figure);
    let axis = &json["layout"]["xaxis"];
    let words: Vec<String> = axis["ticktext"].as_array().unwrap().iter().map(plain).collect();
    assert_eq!(words, ["&lt;s&gt;", "the", "the"]);
    assert_eq!((&axis["tickvals"], &axis["side"]), (&json!([0.0, 1.0, 2.0]), &json!("top")));
    assert_eq!(json["data"][0]["hovertext"], json!([["0 | &lt;s&gt;", "0 | the", "0 | the"]]));
    Ok(())
}

#[test]
fn lines_bars_and_points() -> Result<()> {
    let json = json_of(&line([("a", [1.0, 10.0]), ("b", [2.0, 20.0])])?.log_y()?.x([5, 6])?);
    assert_eq!(plain(&json["data"][1]["name"]), "b");
    assert_eq!(json["data"][1]["x"], json!([5.0, 6.0]));
    assert_eq!(json["data"][1]["showlegend"], true);
    assert_eq!(json["layout"]["yaxis"]["type"], "log");

    let json = json_of(&bar([3.0, -1.0])?.x_labels(["yes", "no"])?);
    assert_eq!(
        (&json["data"][0]["type"], &json["data"][0]["y"]),
        (&json!("bar"), &json!([3.0, -1.0]))
    );

    let points = scatter([1.0, 2.0, 3.0], [4.0, 5.0, 6.0])?;
    let json = json_of(&points.clone().color_by([0.0, 1.0, 2.0])?.color_title("t"));
    assert_eq!(json["data"][0]["marker"]["coloraxis"], "coloraxis");
    assert_eq!(json["layout"]["coloraxis"]["cmax"], 2.0);
    let json = json_of(&points.point_labels(["p", "q", "r"])?.group_by(["x", "y", "x"])?);
    assert_eq!(json["data"][0]["x"], json!([1.0, 3.0]));
    assert_eq!(json["data"][0]["hovertext"], json!(["p", "r"]));
    assert_eq!(plain(&json["data"][1]["name"]), "y");
    Ok(())
}

#[test]
fn a_grid_keeps_the_scales_of_its_parts() -> Result<()> {
    let signed = imshow(&normal(&[3, 3])?)?.midpoint(0.0).title("signed");
    let gray = imshow(&normal(&[2, 3, 3])?)?.scale(Scale::Gray).hide_color_bar();
    let json = json_of(&grid([signed, line([1.0, 2.0])?, gray], 2)?);
    assert_eq!(json["data"][0]["coloraxis"], "coloraxis");
    assert_eq!(json["data"][3]["coloraxis"], "coloraxis2");
    assert_eq!(json["layout"]["coloraxis2"]["colorscale"][1], json!([1.0, "#ffffff"]));
    assert_eq!(json["layout"]["coloraxis"]["showscale"], true);
    assert_eq!(json["layout"]["coloraxis2"]["showscale"], false);
    assert_eq!(plain(&json["layout"]["annotations"][0]["text"]), "signed");
    assert!(message(grid([], 2)).contains("at least one figure"));
    let patched = line([1.0])?.update_layout("{\"dragmode\": \"pan\"}")?;
    assert!(message(beside([patched])).contains("patched as a whole"));
    Ok(())
}

#[test]
fn patches_reach_layout_and_traces() -> Result<()> {
    let figure = line([1.0, 2.0])?
        .update_layout(json!({"xaxis": {"dtick": 0.5}}))?
        .update_traces("{\"line\": {\"width\": 7}}")?;
    let json = json_of(&figure);
    assert_eq!(json["layout"]["xaxis"]["dtick"], 0.5);
    assert_eq!(json["layout"]["xaxis"]["anchor"], "y");
    assert_eq!(json["data"][0]["line"]["width"], 7);
    assert_eq!(json["data"][0]["line"]["color"], "#0072b2");
    assert!(message(line([1.0])?.update_layout("[1]")).contains("a JSON object"));
    assert!(message(line([1.0])?.update_traces("{oops")).contains("the trace patch"));
    Ok(())
}

#[test]
fn traces_of_the_plotly_crate() -> Result<()> {
    let figure = line([1.0, 2.0])?.trace(plotly::Scatter::new(vec![0, 1], vec![2, 1]))?;
    let json = json_of(&figure);
    assert_eq!((&json["data"][1]["x"], &json["data"][1]["yaxis"]), (&json!([0, 1]), &json!("y")));
    let surface =
        Figure::from_trace(plotly::Surface::<i32, i32, i32>::new(vec![vec![1, 2], vec![3, 4]]))?;
    let json = json_of(&beside([line([1.0, 2.0])?, surface])?);
    assert_eq!(json["data"][1]["scene"], "scene2");
    assert!(json["layout"]["scene2"]["domain"]["x"].is_array());
    assert!(json["layout"].get("xaxis2").is_none());
    Ok(())
}

/// Field trial 44: a diverged run is drawn, and the figure says what is missing.
#[test]
fn values_that_are_not_finite_are_gaps_and_told() -> Result<()> {
    let figure = line([1.0, f64::NAN, 3.0])?;
    let json = json_of(&figure);
    assert_eq!(json["data"][0]["y"], json!([1.0, null, 3.0]));
    // Both points stand alone: without dots there would be nothing to see.
    assert_eq!(json["data"][0]["mode"], "lines+markers");
    let note = "1 of 3 values is not finite and left out";
    assert_eq!(figure.to_string(), format!("Figure: 1 chart; {note}"));
    assert_eq!(plain(&json["layout"]["annotations"][0]["text"]), note);
    assert!(figure.to_svg().contains(note) && !figure.to_svg().contains("NaN"));

    let mut losses: Vec<f32> = (0..90).map(|i| 1.0 / (1.0 + i as f32)).collect();
    losses.extend([f32::INFINITY, f32::NAN, f32::NEG_INFINITY, f32::NAN]);
    let train = line(vec![("train", losses.clone()), ("test", vec![0.5_f32; 94])])?.log_y()?;
    assert!(train.to_string().ends_with("4 of 94 values of train are not finite and left out"));
    let json = json_of(&train);
    assert_eq!(json["data"][0]["y"][93], Value::Null);
    assert_eq!(
        (&json["data"][0]["mode"], json["data"][0]["y"][0].as_f64()),
        (&json!("lines"), Some(1.0))
    );

    let bars = bar([2.0, f64::INFINITY])?;
    assert_eq!(json_of(&bars)["data"][0]["y"], json!([2.0, null]));
    let points = scatter([0.0, f64::NAN, 2.0, 3.0], [1.0, 1.0, f64::NAN, 4.0])?;
    let points = points.color_by([1.0, 2.0, 3.0, f64::NAN])?;
    let json = json_of(&points);
    assert_eq!(json["data"][0]["x"], json!([0.0, null, 2.0, 3.0]));
    assert_eq!(json["data"][0]["y"], json!([1.0, null, null, null]));
    assert_eq!(json["layout"]["coloraxis"]["cmax"], 3.0);
    assert!(points.to_string().contains("3 of 4 values are not finite"));

    let image = Tensor::new(&[[1_f32, f32::NAN], [f32::INFINITY, 4.0]], &Device::Cpu)?;
    let figure = imshow(&image)?;
    let json = json_of(&figure);
    assert_eq!(json["data"][0]["z"], json!([[1.0, null], [null, 4.0]]));
    assert_eq!(json["layout"]["coloraxis"]["cmax"], 4.0);
    assert!(figure.to_string().ends_with("2 of 4 cells are not finite and left blank"));

    let trace = plotly::Scatter::new(vec![0.0, 1.0], vec![f64::NAN, 1.0]);
    assert!(Figure::from_trace(trace)?.to_string().contains("1 of 4 values is not finite"));
    assert!(message(line([f32::NAN; 3])).contains("3 values, none of them finite"));
    assert!(message(line(Vec::<f32>::new())).contains("leave it out"));
    Ok(())
}

#[test]
fn points_without_a_place_on_a_logarithmic_axis_are_told() -> Result<()> {
    let figure = line([("loss", [1.0, 0.0, -2.0, 0.1])])?.log_y()?;
    assert_eq!(json_of(&figure)["data"][0]["y"], json!([1.0, null, null, 0.1]));
    assert!(figure.to_string().contains("2 of 4 values of loss are not positive"));
    // Positions count from 0, which has no logarithm.
    let figure = line([1.0, 2.0, 3.0])?.log_x()?;
    assert_eq!(json_of(&figure)["data"][0]["x"], json!([null, 1.0, 2.0]));
    assert_eq!(json_of(&figure)["data"][0]["y"], json!([null, 2.0, 3.0]));
    assert!(!figure.to_svg().contains("NaN") && !figure.to_svg().contains("inf"));
    Ok(())
}

/// Field trial 39: a mask is not a number.
#[test]
fn masked_scores_are_blank_and_take_no_part_in_the_scale() -> Result<()> {
    for (mask, dtype) in [
        (-1e30_f32, DType::F32),
        (f32::NEG_INFINITY, DType::F32),
        (f32::MIN, DType::F32),
        (-1e30, DType::BF16),
        (-1e30, DType::F16),
        (-65504.0, DType::F16),
    ] {
        let scores = Tensor::new(&[[0.5_f32, mask], [-0.25, 1.5]], &Device::Cpu)?;
        let figure = imshow(&scores.to_dtype(dtype)?)?;
        let json = json_of(&figure);
        assert_eq!(json["data"][0]["z"], json!([[0.5, null], [-0.25, 1.5]]), "{mask} {dtype:?}");
        let colours = &json["layout"]["coloraxis"];
        assert_eq!((&colours["cmin"], &colours["cmax"]), (&json!(-0.25), &json!(1.5)));
        assert!(figure.to_string().ends_with("1 of 4 cells is masked and left blank"), "{figure}");
        let centred = json_of(&figure.midpoint(0.0));
        assert_eq!(centred["layout"]["coloraxis"]["cmin"], -1.5);
    }
    // A row of such scores as a curve, bars or a histogram.
    let row = [0.5, -1e30, 1.5];
    assert!(line(row)?.to_string().contains("1 of 3 values is masked"));
    assert_eq!(json_of(&bar(row)?)["data"][0]["y"], json!([0.5, null, 1.5]));
    assert!(histogram(row)?.to_string().contains("1 of 3 values is masked"));
    Ok(())
}

/// Field trial 31: plotly.js before 2.28 does not know typed arrays.
#[test]
fn figures_carry_plain_arrays_only() -> Result<()> {
    let cloud: Vec<f64> = (0..5_000).map(|i| f64::from(i).sin()).collect();
    for figure in [
        line((0..40).map(f64::from).collect::<Vec<_>>())?,
        imshow(&normal(&[60, 70])?)?,
        scatter(&cloud, &cloud)?.color_by(&cloud)?,
        histogram(&cloud)?,
        bar(&cloud)?,
    ] {
        let json = figure.to_json();
        assert!(!json.contains("bdata"), "{figure}");
        let data = &json_of(&figure)["data"][0];
        assert!(data["z"].is_array() || data["y"].is_array());
    }
    Ok(())
}

#[test]
fn a_large_matrix_has_a_picture_below_for_older_plotly() -> Result<()> {
    let json = json_of(&beside([line([1.0, 2.0])?, imshow(&normal(&[150, 140])?)?])?);
    assert_eq!(json["data"][1]["z"]["shape"], "150, 140");
    let picture = &json["layout"]["images"][0];
    assert!(picture["source"].as_str().unwrap().starts_with("data:image/png;base64,"));
    assert_eq!((&picture["xref"], &picture["sizex"]), (&json!("x2"), &json!(140)));
    assert!(json_of(&imshow(&normal(&[9, 9])?)?)["layout"].get("images").is_none());
    Ok(())
}

#[test]
fn a_bundle_has_a_picture_for_every_reader() -> Result<()> {
    let figure = line([("a", [1.0, 2.0]), ("b", [2.0, 1.0])])?.title("Loss");
    let bundle = format!("{:?}", figure.bundle());
    for mime in ["application/vnd.plotly.v1+json", "image/svg+xml", "application/pdf", "text/plain"]
    {
        assert!(bundle.contains(mime), "{mime}");
    }
    // JupyterLab would show a PNG in place of the figure.
    assert!(!bundle.contains("image/png"));
    assert_eq!(format!("{figure:?}"), "Figure \"Loss\": 1 chart");
    Ok(())
}

#[test]
fn a_diagonal_runs_through_axes_of_one_range_and_scale() -> Result<()> {
    let figure = scatter([0.0, 1.0], [0.5, 3.0])?.equal_axes().diagonal();
    let json = json_of(&figure);
    let ends = |axis: &str| {
        let range = &json["layout"][axis]["range"];
        [0, 1].map(|i| range[i].as_f64().unwrap())
    };
    let ([left, right], [bottom, top]) = (ends("xaxis"), ends("yaxis"));
    let page = figure.page();
    let rect = page.panels[0].rect;
    assert!(((right - left) / rect.w - (top - bottom) / rect.h).abs() < 1e-9);
    assert!(left <= 0.0 && right >= 3.0 && bottom <= 0.0 && top >= 3.0);
    let guide = &json["data"][1];
    assert_eq!((&guide["x"], &guide["hoverinfo"]), (&guide["y"], &json!("skip")));
    assert_eq!(json["layout"]["yaxis"]["scaleanchor"], "x");
    // A parabola of a line where one axis is logarithmic.
    let bent = json_of(&scatter([1.0, 100.0], [1.0, 90.0])?.log_x()?.diagonal());
    assert!(bent["data"][1]["x"].as_array().unwrap().len() > 2);
    Ok(())
}

#[test]
fn a_point_tells_its_name_and_both_coordinates() -> Result<()> {
    let figure = scatter([1.0], [2.0])?.point_labels(["input 880"])?.x_title("predicted");
    let hover = json_of(&figure)["data"][0]["hovertemplate"].as_str().unwrap().to_owned();
    assert!(hover.starts_with("%{hovertext}<br>predicted %{x:.6~g}<br>y %{y:.4~g}"), "{hover}");
    let hover = json_of(&line([1.0, 2.0])?)["data"][0]["hovertemplate"].to_string();
    assert!(hover.contains("x %{x:.6~g}<br>y %{y:.4~g}"));
    Ok(())
}

#[test]
fn series_differ_in_dashes_and_symbols_and_numbers_have_a_heading() -> Result<()> {
    let json = json_of(&line(normal(&[3, 40])?)?);
    assert_eq!(json["data"][0]["line"].get("dash"), None);
    assert_eq!(json["data"][1]["line"]["dash"], "9px,4px");
    assert_eq!(plain(&json["layout"]["legend"]["title"]["text"]), "series");
    let json = json_of(&line(normal(&[3, 40])?)?.legend_title("digit"));
    assert_eq!(plain(&json["layout"]["legend"]["title"]["text"]), "digit");
    // The only legend is the first, whichever panel it belongs to.
    let json = json_of(&beside([line([1.0, 2.0])?, line(normal(&[2, 40])?)?])?);
    assert_eq!(json["data"][1]["legend"], "legend");
    assert_eq!(json["data"][1]["xaxis"], "x2");
    let groups = scatter([1.0, 2.0], [1.0, 2.0])?.group_by(["a", "b"])?;
    let json = json_of(&groups);
    assert_eq!(json["data"][1]["marker"]["symbol"], "square");
    assert_eq!(json["layout"]["legend"]["title"]["text"], "");
    Ok(())
}

#[test]
fn a_colour_bar_and_its_cells_write_numbers_alike() -> Result<()> {
    let small = (normal(&[4, 4])? * 3e-4)?;
    let json = json_of(&imshow(&small)?.cell_numbers()?);
    let bar = &json["layout"]["coloraxis"]["colorbar"]["ticktext"];
    for text in bar.as_array().unwrap() {
        assert!(plain(text).trim_start_matches('−').parse::<f64>().is_ok(), "{text}");
    }
    // A curve of few decades has ticks at 1, 2 and 5.
    let json = json_of(&line([0.1, 0.2, 0.3])?.x([1, 9, 80])?.log_x()?);
    let words = json["layout"]["xaxis"]["ticktext"].as_array().unwrap();
    let words: Vec<String> = words.iter().map(plain).collect();
    assert!(words.join(" ").contains("1 2 5 10 20 50 100"), "{words:?}");
    Ok(())
}

#[test]
fn bad_input_is_named() -> Result<()> {
    let nan = Tensor::new(&[[f32::INFINITY, f32::NAN]], &Device::Cpu)?;
    assert!(message(imshow(&nan)).contains("2 values, none of them finite"));
    assert!(message(imshow(&normal(&[4])?)).contains("[height, width]"));
    assert!(message(imshow(&Tensor::zeros((0, 3), DType::F32, &Device::Cpu)?)).contains("[0, 3]"));
    assert!(message(line(Vec::<f32>::new())).contains("at least one number"));
    assert!(message(line(Vec::<(&str, Vec<f32>)>::new())).contains("at least one series"));
    assert!(message(bar([("loss", [f64::INFINITY])])).contains("series loss"));
    assert!(message(scatter([1.0], [1.0, 2.0])).contains("y of scatter"));
    assert!(message(scatter([1.0], [1.0])?.group_by(["a", "b"])).contains("group_by"));
    assert!(message(line([1.0])?.color_by([1.0])).contains("scatter"));
    assert!(message(line([-1.0, 0.0])?.log_y()).contains("positive for at least one point"));
    assert!(message(line([1.0])?.log_x()).contains("found 0 as the largest"));
    assert!(message(line([1.0])?.cell_numbers()).contains("image"));
    assert!(message(imshow(&normal(&[2, 2])?)?.log_y()).contains("image"));
    assert!(message(line([1.0, 2.0])?.x([1.0])).contains("2 values"));
    assert!(message(imshow(&normal(&[2, 2])?)?.x([1.0])).contains("0 values"));
    assert!(message(line([1.0])?.log_y()?.y_range(0.0, 1.0)).contains("logarithmic"));
    assert!(message(line([1.0])?.y_range(-1.0, 1.0)?.log_y()).contains("logarithmic"));
    assert!(message(line([1.0])?.color_range(0.0, 1.0)).contains("colour scale"));
    assert!(message(scatter([1.0], [1.0])?.x_labels(["a"])).contains("0, 1, 2"));
    assert!(message(line([1.0])?.y_range(1.0, 1.0)).contains("y_range"));
    assert!(message(line([1.0])?.y_labels(["a"])).contains("y_labels"));
    let image = imshow(&normal(&[2, 3])?)?;
    assert!(message(image.clone().x_labels(["a"])).contains("3 labels"));
    assert!(message(image.clone().facet_titles(["a", "b"])).contains("1 titles"));
    assert!(message(image.clone().facet_col_wrap(0)).contains("facet_col_wrap"));
    assert!(message(image.color_range(f64::NAN, 1.0)).contains("color_range"));
    Ok(())
}

#[test]
fn a_saved_page_needs_no_network() -> Result<()> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("figure.html");
    line((0..100).collect::<Vec<i32>>())?.title("</script><b>").save_html(&path)?;
    let html = std::fs::read_to_string(&path).unwrap();
    assert!(html.contains("plotly.js v3"));
    // Outside of the library's own code nothing is fetched, and the title ends no script.
    let begin = html.find("<script>").unwrap();
    let end = html.find("</script>").unwrap();
    let page = format!("{}{}", &html[..begin], &html[end..]);
    for reference in ["http:", "https:", "src=", "href=", "import"] {
        assert!(!page.contains(reference), "{reference}");
    }
    assert_eq!(html.matches("</script>").count(), 2);
    let json = page.split("const figure = ").nth(1).and_then(|t| t.split(";\n").next()).unwrap();
    let figure: Value = serde_json::from_str(json).unwrap();
    assert_eq!(figure["data"][0]["y"][99], 99);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    Ok(())
}

#[test]
fn a_page_that_cannot_be_written_leaves_nothing() -> Result<()> {
    let folder = tempfile::tempdir().unwrap();
    let figure = line([1.0, 2.0])?;
    let missing = folder.path().join("no such folder").join("figure.html");
    assert!(message(figure.save_html(&missing)).contains("could not write"));
    // A folder is in the way: the file beside it must go again.
    let taken = folder.path().join("taken");
    std::fs::create_dir_all(taken.join("inside")).unwrap();
    assert!(message(figure.save_html(&taken)).contains("taken"));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    assert!(message(figure.save_html("/")).contains("the name of a file"));
    Ok(())
}

#[test]
fn the_still_picture_is_small_and_whole() -> Result<()> {
    let image = imshow(&normal(&[784, 784])?)?.midpoint(0.0).title("a < b");
    let svg = image.to_svg();
    assert!(svg.len() < 1_200_000, "{}", svg.len());
    assert!(svg.contains("a &lt; b") && svg.contains("data:image/png"));
    let curve = line((0..100_000).map(|i| f64::from(i % 7)).collect::<Vec<f64>>())?.to_svg();
    assert!(curve.len() < 40_000, "{}", curve.len());
    let cloud = scatter((0..9_999).collect::<Vec<i32>>(), (0..9_999).collect::<Vec<i32>>())?;
    assert!(cloud.to_svg().len() < 60_000 && cloud.to_pdf().len() < 30_000);
    let parts = bar([("a", [1.0]), ("b", [-2.0])])?.x_labels(["one"])?.to_svg();
    assert!([">a<", ">b<", ">one<"].iter().all(|t| parts.contains(t)));
    assert!(!parts.contains("NaN"));
    Ok(())
}

#[test]
fn heat_maps_leave_out_columns_without_numbers() {
    let map = |values: &[[f64; 2]; 1]| Tensor::new(values, &Device::Cpu).unwrap();
    let names = |names: &[&str]| names.iter().map(|name| name.to_string()).collect::<Vec<_>>();
    let maps = vec![
        ("whole".to_owned(), map(&[[1., 2.]])),
        ("half".to_owned(), map(&[[3., f64::NAN]])),
        ("none".to_owned(), map(&[[f64::NAN; 2]])),
    ];
    let figure = plot_heat_maps(maps, names(&["r"]), names(&["a", "b"])).unwrap();
    let json: Value = serde_json::from_str(&figure.to_json()).unwrap();
    assert_eq!(json["data"][1]["z"], json!([[3.0]]));
    // Two maps, and the numbers in their cells.
    assert_eq!(json["data"].as_array().unwrap().len(), 4);
    assert_eq!(json["data"][2]["text"], json!(["1", "2"]));
    assert_eq!(json["data"][3]["textfont"]["size"], 13.0);
    // Long numbers make their columns wide, or have fewer digits.
    let long = (normal(&[3, 6]).unwrap() * 1e-3).unwrap();
    for columns in [1, 2] {
        let map = imshow(&long).unwrap().cell_numbers().unwrap();
        let json = json_of(&grid(vec![map; columns], columns).unwrap());
        let texts = json["data"][columns]["text"].as_array().unwrap();
        assert_eq!(texts.len(), 18);
        assert!(json["data"][columns]["textfont"]["size"].as_f64().unwrap() >= 11.0);
    }
    let wrong = vec![("m".to_owned(), map(&[[1., 2.]]))];
    assert!(plot_heat_maps(wrong, names(&["r"]), names(&["a"])).is_err());
    assert!(plot_heat_maps(vec![], vec![], vec![]).is_err());
}
