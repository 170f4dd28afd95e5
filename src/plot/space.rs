//! Points and arrows in three dimensions.

use std::f64::consts::TAU;

use serde_json::{Value, json};

use super::plotly_text::text;
use super::values::extent;

/// Where the eye is: degrees around the z axis from x, and above the xy plane.
const AZIMUTH: f64 = 35.0;
const ELEVATION: f64 = 25.0;
/// Distance of plotly's eye from the middle.
const DISTANCE: f64 = 1.8;
/// Length of a scene's longest side; plotly's own is 1, which leaves much of the panel empty.
const SIDE: f64 = 1.2;
/// Thin lines of a scene. What is see-through comes out too bright there.
const SCENE: &str = "#8a8a8a";
/// Corners of a drawn circle.
const CORNERS: usize = 48;

/// A place in three dimensions.
pub(crate) type SpacePoint = [f64; 3];

/// Things of one colour in three dimensions.
#[derive(Debug, Clone)]
pub(crate) struct Space {
    /// Empty for no place in the legend.
    pub(crate) name: String,
    pub(crate) style: SpaceStyle,
    pub(crate) places: Vec<SpacePoint>,
    pub(crate) ink: &'static str,
    /// Pixels across lines; tips are wider.
    pub(crate) width: f64,
    /// Which of the places of each frame of the figure are these.
    pub(crate) moves: Option<usize>,
    /// The group of the figure's points that tell which these are, if they are such.
    pub(crate) told: Option<usize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SpaceStyle {
    /// Lines from the origin with a dot at the tip.
    Arrows,
    /// One line through all places; a place that is not finite breaks it.
    Line,
    /// A dot at each place.
    Dots,
}

impl Space {
    pub(crate) fn arrows(
        name: &str,
        places: Vec<SpacePoint>,
        ink: &'static str,
        width: f64,
    ) -> Self {
        let (name, style) = (name.to_owned(), SpaceStyle::Arrows);
        Self { name, style, places, ink, width, moves: None, told: None }
    }

    /// Dots, `width` pixels across.
    pub(crate) fn dots(
        name: impl Into<String>,
        places: Vec<SpacePoint>,
        ink: &'static str,
        width: f64,
    ) -> Self {
        let style = SpaceStyle::Dots;
        Self { name: name.into(), style, places, ink, width, moves: None, told: None }
    }

    /// Circles of latitude and longitude of the unit sphere.
    pub(crate) fn sphere() -> Self {
        let mut places = Vec::new();
        let mut circle = |place: &dyn Fn(f64) -> SpacePoint| {
            places.extend((0..=CORNERS).map(|i| place(TAU * i as f64 / CORNERS as f64)));
            places.push([f64::NAN; 3]);
        };
        for degrees in [-60.0_f64, -30.0, 0.0, 30.0, 60.0] {
            let (z, r) = degrees.to_radians().sin_cos();
            circle(&|t| [r * t.cos(), r * t.sin(), z]);
        }
        for degrees in [0.0_f64, 30.0, 60.0, 90.0, 120.0, 150.0] {
            let (y, x) = degrees.to_radians().sin_cos();
            circle(&|t| [x * t.cos(), y * t.cos(), t.sin()]);
        }
        let (name, style) = (String::new(), SpaceStyle::Line);
        Self {
            name,
            style,
            places,
            ink: "rgba(128,128,128,0.3)",
            width: 1.0,
            moves: None,
            told: None,
        }
    }

    /// The equator and the edge that the eye sees: a sphere in few pixels.
    pub(crate) fn outline() -> Vec<SpacePoint> {
        let (sa, ca) = AZIMUTH.to_radians().sin_cos();
        let (se, ce) = ELEVATION.to_radians().sin_cos();
        let (right, up) = ([-sa, ca, 0.0], [-se * ca, -se * sa, ce]);
        let turn = |i: usize| (TAU * i as f64 / CORNERS as f64).sin_cos();
        let equator = (0..=CORNERS).map(turn).map(|(s, c)| [c, s, 0.0]);
        let edge = (0..=CORNERS).map(turn);
        let edge = edge.map(|(s, c)| [0, 1, 2].map(|i| c * right[i] + s * up[i]));
        equator.chain([[f64::NAN; 3]]).chain(edge).collect()
    }

    /// Lines from place to place; one that is not finite breaks them.
    pub(crate) fn path(&self, places: &[SpacePoint]) -> Vec<SpacePoint> {
        match self.style {
            SpaceStyle::Line | SpaceStyle::Dots => places.to_vec(),
            SpaceStyle::Arrows => {
                places.iter().flat_map(|tip| [[0.0; 3], *tip, [f64::NAN; 3]]).collect()
            }
        }
    }

    /// Where dots stand.
    pub(crate) fn tips<'a>(&self, places: &'a [SpacePoint]) -> &'a [SpacePoint] {
        if self.style == SpaceStyle::Line { &[] } else { places }
    }

    /// Pixels across a dot.
    pub(crate) fn dot(&self) -> f64 {
        if self.style == SpaceStyle::Dots { self.width } else { self.width + 5.0 }
    }

    /// A trace for plotly: in three dimensions, or as seen from the eye.
    pub(crate) fn trace(&self, flat: bool) -> Value {
        let mut trace = self.coordinates(&self.places, flat);
        trace["type"] = json!(if flat { "scatter" } else { "scatter3d" });
        trace["name"] = json!(self.name);
        let thin = self.style == SpaceStyle::Line && !flat;
        let ink = if thin { SCENE } else { self.ink };
        trace["line"] = json!({"color": ink, "width": self.width});
        match self.style {
            SpaceStyle::Line => {
                trace["mode"] = json!("lines");
                trace["hoverinfo"] = json!("skip");
            }
            SpaceStyle::Dots => {
                let place = "x %{x:.4~g}<br>y %{y:.4~g}<br>z %{z:.4~g}";
                let told = if self.told.is_some() { "%{hovertext}<br>" } else { "" };
                trace["mode"] = json!("markers");
                trace["hovertemplate"] =
                    json!(format!("{told}{place}<extra>{}</extra>", text(&self.name)));
                trace["marker"] = json!({
                    "color": self.ink, "size": self.width, "opacity": 0.8, "line": {"width": 0},
                });
            }
            SpaceStyle::Arrows => {
                trace["mode"] = json!("lines+markers");
                trace["hoverinfo"] = json!(if flat { "name" } else { "name+x+y+z" });
                // A dot at every tip; none at the origin and in the gap.
                let sizes = [json!(0), json!(self.dot()), json!(0)];
                let sizes: Vec<&Value> = sizes.iter().cycle().take(3 * self.places.len()).collect();
                trace["marker"] = json!({
                    "color": self.ink, "size": sizes, "opacity": 1, "line": {"width": 0},
                });
            }
        }
        trace
    }

    /// Plotly's coordinates of `places`.
    pub(crate) fn coordinates(&self, places: &[SpacePoint], flat: bool) -> Value {
        let path = self.path(places);
        if flat {
            let seen: Vec<(f64, f64)> = path.into_iter().map(project).collect();
            let (x, y): (Vec<_>, Vec<_>) = seen.into_iter().map(|(x, y)| (r(x), r(y))).unzip();
            return json!({"x": x, "y": y});
        }
        let axis = |i: usize| path.iter().map(|place| r(place[i])).collect::<Vec<Value>>();
        json!({"x": axis(0), "y": axis(1), "z": axis(2)})
    }
}

/// A number short enough to be sent for every frame; null where there is none.
fn r(value: f64) -> Value {
    if value.is_finite() { json!((value * 1e4).round() / 1e4) } else { Value::Null }
}

/// Where a place is seen, right and up.
pub(crate) fn project([x, y, z]: SpacePoint) -> (f64, f64) {
    let (sa, ca) = AZIMUTH.to_radians().sin_cos();
    let (se, ce) = ELEVATION.to_radians().sin_cos();
    (ca * y - sa * x, ce * z - se * (ca * x + sa * y))
}

/// A scene that is seen as [`project`] sees it until somebody turns it.
pub(crate) fn scene() -> Value {
    let (sa, ca) = AZIMUTH.to_radians().sin_cos();
    let (se, ce) = ELEVATION.to_radians().sin_cos();
    let axis = json!({
        "showbackground": false, "gridcolor": SCENE, "zerolinecolor": SCENE, "linecolor": SCENE,
        "tickfont": {"size": 10}, "showspikes": false, "nticks": 5,
    });
    json!({
        "xaxis": axis, "yaxis": axis, "zaxis": axis,
        "camera": {
            "projection": {"type": "orthographic"},
            "eye": {"x": DISTANCE * ce * ca, "y": DISTANCE * ce * sa, "z": DISTANCE * se},
        },
    })
}

/// Makes a scene as large as its places, the same scale along all axes. One without places is left
/// to plotly.
pub(crate) fn fit(scene: &mut Value, places: &[SpacePoint]) {
    let spans = [0, 1, 2].map(|axis| extent(places.iter().map(|place| place[axis])));
    let [Some(x), Some(y), Some(z)] = spans else { return };
    let longest = [x, y, z].iter().fold(0.0, |most: f64, (low, high)| most.max(high - low));
    if longest <= 0.0 {
        return;
    }
    let air = 0.04 * longest;
    scene["aspectmode"] = json!("manual");
    for (name, (low, high)) in ["x", "y", "z"].into_iter().zip([x, y, z]) {
        let (low, high) = (low - air, high + air);
        scene[format!("{name}axis")]["range"] = json!([low, high]);
        scene["aspectratio"][name] = json!(SIDE * (high - low) / (longest + 2.0 * air));
    }
}

/// How far the places of some marks reach from the middle, as they are seen.
pub(crate) fn reach<'a>(places: impl Iterator<Item = &'a SpacePoint>) -> f64 {
    let seen = places.map(|place| project(*place)).filter(|(x, y)| x.is_finite() && y.is_finite());
    seen.fold(1.0, |most: f64, (x, y)| most.max(x.abs()).max(y.abs())) * 1.06
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_eye_sees_z_upwards_and_itself_in_the_middle() {
        let (x, y) = project([0.0, 0.0, 1.0]);
        assert!(x == 0.0 && (y - ELEVATION.to_radians().cos()).abs() < 1e-12);
        let scene = scene();
        let eye = ["x", "y", "z"].map(|axis| scene["camera"]["eye"][axis].as_f64().unwrap());
        let (x, y) = project(eye);
        assert!(x.abs() < 1e-12 && y.abs() < 1e-12);
        // Orthographic: what lies across the line of sight keeps its length.
        let across = [-AZIMUTH.to_radians().sin(), AZIMUTH.to_radians().cos(), 0.0];
        assert!((project(across).0 - 1.0).abs() < 1e-12);
    }

    #[test]
    fn a_scene_has_one_scale_along_all_axes() {
        let mut scene = scene();
        fit(&mut scene, &[[0.0, 0.0, 0.0], [1.0, 3.0, -2.0], [f64::NAN; 3]]);
        let per_unit = ["x", "y", "z"].map(|name| {
            let range = &scene[format!("{name}axis")]["range"];
            let span = range[1].as_f64().unwrap() - range[0].as_f64().unwrap();
            scene["aspectratio"][name].as_f64().unwrap() / span
        });
        assert!(per_unit.iter().all(|scale| (scale - per_unit[0]).abs() < 1e-12));
        assert!(scene["xaxis"]["range"][0].as_f64().unwrap() < 0.0);
    }

    #[test]
    fn arrows_are_lines_with_gaps_and_dots_at_their_tips() {
        let arrows = Space::arrows("a", vec![[1.0, 2.0, 3.0], [0.0, 1.0, 0.0]], "#000000", 3.0);
        let trace = arrows.trace(false);
        assert_eq!(trace["x"], json!([0.0, 1.0, null, 0.0, 0.0, null]));
        assert_eq!(trace["z"], json!([0.0, 3.0, null, 0.0, 0.0, null]));
        assert_eq!(trace["marker"]["size"], json!([0, 8.0, 0, 0, 8.0, 0]));
        assert_eq!(arrows.trace(true)["type"], "scatter");
        let sphere = Space::sphere();
        for place in Space::outline().iter().rev().take(CORNERS) {
            let (x, y) = project(*place);
            assert!((x.hypot(y) - 1.0).abs() < 1e-12);
        }
        for [x, y, z] in sphere.places.iter().filter(|place| place[0].is_finite()) {
            assert!((x * x + y * y + z * z - 1.0).abs() < 1e-12);
        }
    }
}
