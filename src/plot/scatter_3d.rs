//! Points in three dimensions.

use candle_core::{DType, Tensor};

use super::figure::Figure;
use super::palette::SERIES;
use super::panel::{Mark, Panel};
use super::space::{Space, SpacePoint};
use crate::check::check_all_finite;
use crate::{Error, Result};

/// Side of the view.
const SIDE: f64 = 460.0;
/// Pixels across a dot.
const DOT: f64 = 4.0;

/// Draws points in three dimensions, to be turned with the mouse: named groups, each `[n, 3]`, with a
/// colour and an entry of the legend. All axes have one scale.
///
/// ```
/// use eigenlens::plot::scatter_3d;
/// use eigenlens::prelude::*;
/// # fn main() -> Result<()> {
/// let mut rng = Rng::seed(0);
/// let near = rng.normal((50, 3), &Device::Cpu)?;
/// scatter_3d([("near", near.clone()), ("far", (near * 4.0)?)])?.show();
/// # Ok(()) }
/// ```
///
/// # Errors
/// [`Error::Invalid`] for no groups or more than eight, which is as many colours as can be told apart;
/// [`Error::Shape`] unless each is `[n, 3]`; [`Error::NonFinite`] for NaN.
pub fn scatter_3d<N: Into<String>>(
    groups: impl IntoIterator<Item = (N, Tensor)>,
) -> Result<Figure> {
    let mut marks = Vec::new();
    for (name, points) in groups {
        let name: String = name.into();
        let what = match name.is_empty() {
            true => "the points".to_owned(),
            false => format!("the points of {name}"),
        };
        let places = places(&what, &points)?;
        let ink = SERIES.get(marks.len()).copied();
        let ink = ink.ok_or_else(|| {
            Error::invalid("the groups", format!("at most {}, one a colour", SERIES.len()), "more")
        })?;
        marks.push(Mark::Space(Space::dots(name, places, ink, DOT)));
    }
    if marks.is_empty() {
        return Err(Error::invalid("the groups", "at least one", "none"));
    }
    Ok(Figure::single(Panel { marks, size: (SIDE, SIDE), ..Panel::default() }))
}

/// Rows of `[n, 3]`.
fn places(what: &str, points: &Tensor) -> Result<Vec<SpacePoint>> {
    if !matches!(points.dims(), [count, 3] if *count > 0) {
        return Err(Error::shape(what, "[n, 3]", points.dims()));
    }
    let values: Vec<f64> = points.to_dtype(DType::F64)?.flatten_all()?.to_vec1()?;
    check_all_finite(what, &values)?;
    Ok(values.as_chunks::<3>().0.to_vec())
}

#[cfg(test)]
mod tests {
    use candle_core::Device;
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn groups_are_traces_of_dots_with_a_legend() {
        let group = |z: f32| Tensor::new(&[[0f32, 1.0, z], [2.0, 3.0, z]], &Device::Cpu).unwrap();
        let figure = scatter_3d([("<a>", group(1.0)), ("b", group(2.0))]).unwrap();
        let json: Value = serde_json::from_str(&figure.to_json()).unwrap();
        let trace = &json["data"][0];
        assert_eq!((&trace["type"], &trace["mode"]), (&json!("scatter3d"), &json!("markers")));
        assert_eq!(trace["z"], json!([1.0, 1.0]));
        assert_eq!(trace["showlegend"], true);
        assert!(trace["hovertemplate"].as_str().unwrap().contains("<extra>&lt;a&gt;</extra>"));
        assert!(json["layout"]["scene"]["aspectmode"] == "manual");
        assert!(figure.to_svg().contains("&lt;a&gt;"));
    }

    #[test]
    fn points_that_cannot_be_drawn_are_named() {
        let message = |points: Tensor| scatter_3d([("a", points)]).unwrap_err().to_string();
        let zeros = |shape: (usize, usize)| Tensor::zeros(shape, DType::F32, &Device::Cpu).unwrap();
        assert!(message(zeros((2, 2))).contains("the points of a"));
        assert!(message(zeros((0, 3))).contains("[n, 3]"));
        assert!(message((zeros((1, 3)) / 0.0).unwrap()).contains("NaN"));
        assert!(scatter_3d(Vec::<(String, Tensor)>::new()).is_err());
        let many = (0..9).map(|i| (i.to_string(), zeros((1, 3))));
        assert!(scatter_3d(many).unwrap_err().to_string().contains("at most 8"));
    }
}
