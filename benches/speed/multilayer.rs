//! Multi-layer autoencoders, beside the original's way of computing in PyTorch.

use eigenlens::multilayer::{CosineBins, CosineByLayer, LayerPairing, max_cosines};
use eigenlens::prelude::*;
use eigenlens::sae::{Architecture, Normalization};

use crate::language::{again, layer_products, model_sizes, random_sae, random_tokens};
use crate::pytorch::{self, Work};
use crate::report::{Row, Spread};
use crate::{Result, look_up, once};

/// Layers, width, latents and k of an autoencoder of Pythia-70m, with 64 latents a dimension.
const WIDE: [usize; 4] = [6, 512, 32_768, 32];
/// Tokens of a context.
const LENGTH: usize = 128;
/// Examples of a latent at a layer.
const EXAMPLES: usize = 32;
/// Directions whose largest cosines are looked for, and those of which all pairs are counted.
const DIRECTIONS: [usize; 2] = [8_192, 4_096];
/// Turns in which a decomposition is compared with distributions.
const COMPARISONS: usize = 5;

/// Speeds of training, surveys, look-ups and directions. Aims on two cores, over PyTorch: training 2
/// and, wide, 3 times, distributions 1.2, examples 6, evaluation 1.5; a decomposition in 1.1 times the
/// time of distributions, and a look-up among six million examples in 5 ms.
pub(crate) fn rows() -> Result<Vec<Row>> {
    let (small, wide) = (Subject::classics()?, Subject::wide()?);
    let [many, few] = DIRECTIONS.map(|n| Rng::seed(0).normal((WIDE[1], n), &Device::Cpu));
    let (many, few) = (many?, few?);
    let table = look_up::Table::write(look_up::SMALL)?;
    let works = [
        small.training("multi-layer training", "layers-training-classics"),
        wide.training("multi-layer training, wide", "layers-training-wide"),
        small.distributions("distributions over layers", "layers-distributions-classics"),
        wide.distributions("distributions over layers, wide", "layers-distributions-wide"),
        wide.work("variance decomposition, wide", "layers-variances-wide", |own| {
            own.mlsae.decomposition(&own.text, &own.scan()).map(drop)
        }),
        wide.work("examples of latents, wide", "layers-examples-wide", |own| {
            let examples = LayerExampleOptions { examples: EXAMPLES, ..Default::default() };
            own.mlsae.examples(&own.text, examples, &own.scan()).map(drop)
        }),
        small.work("multi-layer evaluation", "layers-evaluation-classics", |own| {
            own.mlsae.evaluate(&own.text, &own.scan()).map(drop)
        }),
        table.work("layers-lookup"),
        pairs("largest cosines of directions", "layers-mmcs", &many, |own| {
            max_cosines(own).map(drop)
        }),
        pairs("cosines by distance of layers", "layers-cosines", &few, |own| {
            let layers: Vec<f64> = (0..DIRECTIONS[1]).map(|i| (i % 501) as f64 / 100.0).collect();
            let bins = CosineBins::of_layers(WIDE[0]);
            CosineByLayer::of(own, &layers, LayerPairing::Same, &bins).map(drop)
        }),
    ];
    let own = [
        ("examples", EXAMPLES),
        ("lookup_layers", look_up::LAYERS),
        ("lookup_latents", look_up::SMALL),
        ("mmcs_latents", DIRECTIONS[0]),
        ("cosines_latents", DIRECTIONS[1]),
    ];
    let named = [small.sizes(), wide.sizes()].concat();
    let named = named.iter().map(|(name, size)| (name.as_str(), *size));
    let sizes: Vec<(&str, usize)> = model_sizes().into_iter().chain(own).chain(named).collect();
    let mut rows = pytorch::rows(works, &sizes)?;
    rows.push(look_up::Table::write(look_up::LARGE)?.row()?);
    rows.push(small.comparison(LayerScanOptions::default().draws)?);
    rows.push(wide.comparison(0)?);
    Ok(rows)
}

/// An autoencoder at all layers of a model, and contexts that it is given.
struct Subject {
    /// Begins the names of its sizes on PyTorch's side.
    name: &'static str,
    mlsae: Mlsae,
    text: Contexts,
    /// Contexts of a batch of a survey.
    contexts: usize,
    /// Surveys of a turn.
    surveys: usize,
    /// Windows of text whose activations a training step gets.
    windows: usize,
    /// Steps' worth of activations that are shuffled together, and steps of a turn.
    steps: [usize; 2],
    /// Dead latents that explain what is left.
    auxiliary_k: usize,
    /// Entries of the model's matrices that a token is multiplied by.
    model_products: usize,
}

impl Subject {
    /// The one that ships, with its model and text.
    fn classics() -> Result<Self> {
        let mlsae = Mlsae::from_pretrained("eigenlens/classics-mlsae", &Device::Cpu)?;
        let text = Contexts::from_pretrained("eigenlens/classics-4k")?;
        let text = Contexts::new(LENGTH, text.as_slice()[..64 * LENGTH].to_vec())?;
        let config = mlsae.model().config();
        let model_products = config.layers * layer_products(config);
        let auxiliary_k = config.d_model / 2;
        let name = "classics";
        let (contexts, surveys, windows, steps) = (16, 2, 2, [16, 32]);
        Ok(Self {
            name,
            mlsae,
            text,
            contexts,
            surveys,
            windows,
            steps,
            auxiliary_k,
            model_products,
        })
    }

    /// A random one of a random model, whose layers cost next to nothing: activations are given.
    fn wide() -> Result<Self> {
        let [layers, width, latents, k] = WIDE;
        let config = Config { d_head: Some(2), ..Config::bilinear(layers, 1, width, 1) };
        let text = Contexts::new(LENGTH, random_tokens(8 * LENGTH, config.vocab)?)?;
        let model = Decoder::random(config, 0, &Device::Cpu)?;
        let random = random_sae(HookPoint::ResidPost(0), [latents, width], k)?;
        let normalization = Normalization::LayerNorm;
        let architecture = Architecture { normalization, ..Architecture::top_k(k) };
        let sae = Sae::new(architecture, random.weights().clone())?;
        let layers: Vec<usize> = (0..layers).collect();
        let mlsae = Mlsae::new(&model, &sae, &layers)?.skipping(&[]);
        Ok(Self {
            name: "wide",
            mlsae,
            text,
            contexts: 1,
            surveys: 1,
            windows: 1,
            steps: [1, 2],
            // As in the original's training of it.
            auxiliary_k: 256,
            model_products: 0,
        })
    }

    /// Layers, width, latents and k.
    fn shape(&self) -> [usize; 4] {
        let sae = self.mlsae.sae();
        let k = sae.k().unwrap_or_default();
        [self.mlsae.layers().len(), sae.d_model(), sae.features(), k]
    }

    fn sizes(&self) -> Vec<(String, usize)> {
        let [layers, width, latents, k] = self.shape();
        let sizes = [
            ("layers", layers),
            ("width", width),
            ("latents", latents),
            ("k", k),
            ("auxiliary_k", self.auxiliary_k),
            ("windows", self.contexts),
            ("step_windows", self.windows),
        ];
        sizes.map(|(size, value)| (format!("{}_{size}", self.name), value)).to_vec()
    }

    fn size(&self, contexts: usize) -> String {
        let [layers, width, latents, k] = self.shape();
        let tokens = contexts * LENGTH;
        format!("{layers} layers, d_model {width}, top-{k} of {latents}, {tokens} tokens")
    }

    /// One batch.
    fn scan(&self) -> LayerScanOptions {
        let (batch, draws) = (self.contexts, 0);
        LayerScanOptions { batch, contexts: Some(0..batch), draws, ..Default::default() }
    }

    /// A survey of one batch.
    fn work<'a>(
        &'a self,
        name: &'static str,
        request: &'static str,
        survey: impl Fn(&Self) -> eigenlens::Result<()> + 'a,
    ) -> Work<'a> {
        Work::new(name, request, move |times| again(times, || survey(self)))
            .size(self.size(self.contexts))
            .turn(self.surveys, self.contexts * LENGTH, "tokens/s")
    }

    fn distributions(&self, name: &'static str, request: &'static str) -> Work<'_> {
        let [layers, width, latents, _] = self.shape();
        let products = self.model_products + layers * width * latents;
        self.work(name, request, |own| own.mlsae.distributions(&own.text, &own.scan()).map(drop))
            .flops(2.0 * products as f64)
    }

    /// Each turn of ours begins with random weights, when no latent is dead: the original looks for
    /// dead ones among all latents in every step, we do not. What is shuffled together is filled as
    /// often as the steps of a turn need.
    fn training(&self, name: &'static str, request: &'static str) -> Work<'_> {
        let [layers, width, latents, k] = self.shape();
        let [shuffled, turn] = self.steps;
        let batch = layers * self.windows * LENGTH;
        let options = SaeOptions {
            k,
            expansion: latents / width,
            auxiliary_k: Some(self.auxiliary_k),
            batch,
            buffer: shuffled * batch,
            length: LENGTH,
            ..SaeOptions::default()
        };
        let (model, text) = (self.mlsae.model(), Tokens::from(self.text.as_slice().to_vec()));
        let fit = move |steps: usize| {
            let sae = SaeOptions { steps, report: steps, ..options.clone() };
            let options = MlsaeOptions { sae, ..MlsaeOptions::default() };
            Mlsae::fit(model, &text, &options).map(drop)
        };
        let first = fit.clone();
        // The encoder's product for h; sums over k columns for the result and for the gradients of
        // codes, decoder and encoder.
        let products = self.model_products + layers * (latents + 4 * k) * width;
        Work::new(name, request, move |steps| fit(steps + 1))
            .set_up(move || first(1))
            .size(format!("{}, {batch} activations", self.size(self.windows)))
            .turn(turn, self.windows * LENGTH, "tokens/s")
            .flops(2.0 * products as f64)
    }

    /// The time of a decomposition of the whole text over that of distributions, by turns.
    fn comparison(&self, draws: usize) -> Result<Row> {
        let options = LayerScanOptions { batch: self.contexts, draws, ..Default::default() };
        let distributions = || self.mlsae.distributions(&self.text, &options).map(drop);
        let decomposition = || self.mlsae.decomposition(&self.text, &options).map(drop);
        distributions()?;
        let ratios = (0..COMPARISONS).map(|_| Ok(once(decomposition)? / once(distributions)?));
        let Spread { median, lowest, highest } = Spread::of(ratios.collect::<Result<_>>()?);
        let size = self.size(self.text.len());
        let size = format!("{size}, {draws} resamplings, {lowest:.2} to {highest:.2}");
        Ok(Row::new("decomposition over distributions", size, median, "× time"))
    }
}

/// Work on all pairs of directions `[d, n]`.
fn pairs<'a>(
    name: &'static str,
    request: &'static str,
    directions: &'a Tensor,
    work: impl Fn(&Tensor) -> eigenlens::Result<()> + 'a,
) -> Work<'a> {
    let (d, n) = (directions.dims()[0], directions.dims()[1]);
    Work::new(name, request, move |times| again(times, || work(directions)))
        .size(format!("{n} directions of {d} dimensions"))
        .turn(1, n * (n - 1) / 2, "pairs/s")
        .flops((2 * d) as f64)
}
