//! What is served, and how.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use eigenlens::data::text::Contexts;
use eigenlens::features::{Explanations, FeatureTable, load_tables};
use eigenlens::hub::{Repository, Source};
use eigenlens::multilayer::{LayerDistributions, LayerExamples, Mlsae};
use eigenlens::prelude::HookPoint;
use eigenlens::{Error, Result};

use crate::explained::Explained;
use crate::handle::App;
use crate::labels::Labels;
use crate::server;
use crate::subject::Subject;

/// Tokens of a prompt at most, if the model takes more.
const CONTEXT: usize = 1024;

/// The page's server before it starts: what it shows, and how.
///
/// ```no_run
/// use eigenlens::prelude::*;
/// use eigenlens_app::AppServer;
/// # fn main() -> Result<()> {
/// let mlsae = Mlsae::from_pretrained("eigenlens/classics-mlsae", &Device::Cpu)?;
/// let distributions = LayerDistributions::from_pretrained("eigenlens/classics-mlsae")?;
/// let app = AppServer::new(&mlsae).distributions(&distributions).read_only().serve()?;
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
pub struct AppServer {
    mlsae: Mlsae,
    name: Option<String>,
    distributions: Option<LayerDistributions>,
    examples: Option<LayerExamples>,
    contexts: Option<Contexts>,
    statistics: Option<Vec<FeatureTable>>,
    explanations: Explanations,
    labels: Option<PathBuf>,
    context: usize,
    port: u16,
    read_only: bool,
    logs: bool,
}

impl AppServer {
    /// For an autoencoder at one layer or several; see [`Mlsae::new`] for one of your own.
    pub fn new(mlsae: &Mlsae) -> Self {
        Self {
            mlsae: mlsae.clone(),
            name: None,
            distributions: None,
            examples: None,
            contexts: None,
            statistics: None,
            explanations: Explanations::new(),
            labels: None,
            context: CONTEXT,
            port: 0,
            read_only: false,
            logs: false,
        }
    }

    /// The name that the page shows; by default where the autoencoder came from.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// How often latents are active at each layer. By default there is none, and the list of latents
    /// has their numbers alone.
    #[must_use]
    pub fn distributions(mut self, distributions: &LayerDistributions) -> Self {
        self.distributions = Some(distributions.clone());
        self
    }

    /// Examples of latents. By default there are none.
    #[must_use]
    pub fn examples(mut self, examples: &LayerExamples) -> Self {
        self.examples = Some(examples.clone());
        self
    }

    /// The text that the examples are from, so that the page can show more of it around an example.
    /// By default it is the one that they name; if they name none, the page shows what was kept.
    #[must_use]
    pub fn contexts(mut self, contexts: &Contexts) -> Self {
        self.contexts = Some(contexts.clone());
        self
    }

    /// How large the activations of latents are at each layer: a table for each, as
    /// [`max_activations`](eigenlens::features::max_activations) makes them of [`Mlsae::at`]. By
    /// default there are none, and a latent's page has no histograms.
    #[must_use]
    pub fn statistics(mut self, tables: &[FeatureTable]) -> Self {
        self.statistics = Some(tables.to_vec());
        self
    }

    /// What was written about latents. By default there is nothing.
    /// [`App::explanations`] brings others while the page is served.
    #[must_use]
    pub fn explanations(mut self, explanations: &Explanations) -> Self {
        self.explanations = explanations.clone();
        self
    }

    /// The file that a reader's names of latents are kept in. By default they are gone with the app.
    #[must_use]
    pub fn labels(mut self, path: impl AsRef<Path>) -> Self {
        self.labels = Some(path.as_ref().to_owned());
        self
    }

    /// Refuses new labels; by default they are taken.
    #[must_use]
    pub fn read_only(mut self) -> Self {
        self.read_only = true;
        self
    }

    /// Tokens of a prompt at most; 1,024, and never more than the model takes.
    #[must_use]
    pub fn context(mut self, tokens: usize) -> Self {
        self.context = tokens;
        self
    }

    /// The port of 127.0.0.1; 0, any that is free.
    #[must_use]
    pub fn port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    /// Writes a line on standard error for each request: method, path, status, and never what it
    /// held. By default there are none.
    #[must_use]
    pub fn log_requests(mut self) -> Self {
        self.logs = true;
        self
    }

    /// Starts to serve, on threads of its own.
    ///
    /// # Errors
    /// - [`Error::Io`] for a port that another program has, or a labels' file that cannot be read.
    /// - [`Error::Invalid`] for distributions, examples, tables or explanations of another autoencoder,
    ///   tables without histograms, contexts of another text than the examples', a context of 0, or a
    ///   model without tokenizer.
    pub fn serve(self) -> Result<App> {
        if self.context == 0 {
            return Err(Error::invalid("`context`", "at least 1", 0));
        }
        let labels = Labels::new(self.labels, self.read_only)?;
        let explained = Explained::new(self.mlsae.sae().features(), self.explanations)?;
        let named = self.examples.as_ref().and_then(LayerExamples::text);
        let contexts = match (self.contexts, named) {
            (None, Some(text)) if text.name.is_some() => if_there(text.read())?,
            (contexts, _) => contexts,
        };
        let subject = Subject::new(
            self.mlsae,
            self.name,
            self.distributions.as_ref(),
            self.examples,
            contexts,
            self.statistics.as_deref(),
            self.context,
        )?;
        server::start(subject, labels, explained, self.port, self.logs)
    }
}

/// Serves the page of an autoencoder with what is known of it: distributions, examples and their
/// text, statistics and explanations, if they lie beside its weights. In a notebook, a cell that ends
/// with the returned [`App`] shows the page; the server ends when the variable does.
///
/// # Errors
/// As [`AppServer::serve`]; files beside the weights that are there and cannot be read.
pub fn serve(mlsae: &Mlsae) -> Result<App> {
    AppServer::beside(mlsae)?.serve()
}

impl AppServer {
    /// [`AppServer::new`] with what lies beside the autoencoder's weights: distributions and
    /// examples; if that is a folder of this machine, explanations (`explanations.json`); and if it is
    /// one or embedded, tables of statistics (`top-activations.safetensors`). What is not there is left
    /// out.
    ///
    /// # Errors
    /// Those of reading a file that is there.
    pub fn beside(mlsae: &Mlsae) -> Result<Self> {
        let mut server = Self::new(mlsae);
        if let Some(name) = mlsae.name() {
            server.examples = if_there(LayerExamples::from_pretrained(name))?;
            server.distributions = if_there(LayerDistributions::from_pretrained(name))?;
        }
        if let Some(folder) = folder_of(mlsae) {
            let explanations = if_there(Explanations::load(folder))?;
            server.explanations = explanations.unwrap_or_default();
        }
        // Published tables have contexts alone.
        let has_all = |own: &Vec<FeatureTable>| own.iter().all(|it| it.statistics().is_some());
        server.statistics = if_there(tables_beside(mlsae))?.filter(has_all);
        Ok(server)
    }
}

/// The tables of statistics beside the weights, if these are on this machine.
fn tables_beside(mlsae: &Mlsae) -> Result<Vec<FeatureTable>> {
    let points = mlsae.layers().iter().map(|layer| HookPoint::ResidPost(*layer));
    let points: Vec<HookPoint> = points.collect();
    match (folder_of(mlsae), &mlsae.sae().origin().source, mlsae.name()) {
        (Some(folder), ..) => load_tables(folder, &points),
        (None, Some(Source::Embedded { .. }), Some(name)) => {
            let repository = Repository::find(name)?;
            let table = |point| FeatureTable::from_repository(&repository, point);
            points.into_iter().map(table).collect()
        }
        _ => Err(Error::NotFound { what: "tables of statistics".to_owned(), hint: String::new() }),
    }
}

/// The folder of this machine that the autoencoder was loaded from, if it was.
fn folder_of(mlsae: &Mlsae) -> Option<&Path> {
    match mlsae.sae().origin().source.as_ref()? {
        Source::Folder(folder) => Some(folder.as_path()),
        Source::File(file) => file.parent(),
        _ => None,
    }
}

/// What was read, or nothing where nothing is.
fn if_there<T>(read: Result<T>) -> Result<Option<T>> {
    match read {
        Err(Error::NotFound { .. }) => Ok(None),
        Err(Error::Io { source, .. }) if source.kind() == ErrorKind::NotFound => Ok(None),
        read => read.map(Some),
    }
}
