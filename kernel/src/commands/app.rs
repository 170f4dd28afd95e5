//! `eigenlens app`: set up, then the page of an autoencoder in a browser.

use std::os::unix::process::CommandExt as _;
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::commands::args::AppArgs;
use crate::commands::lab::choose_port;
use crate::commands::setup::setup;

/// Becomes the process that serves the page, which ends with Ctrl-C.
pub(crate) fn app(args: &AppArgs) -> Result<()> {
    // Before minutes are spent on set-up.
    if let Some(port) = args.port {
        choose_port(Some(port))?;
    }
    let setup = setup(&args.setup)?;
    let mut command = Command::new(&setup.program);
    command.arg("show").arg(setup.template.folder()).arg(cell(args));
    if !args.no_browser {
        command.arg("--browser").arg(setup.python.program());
    }
    Err(command.exec()).context("could not start the page")
}

/// The cell that serves the page, and ends its process with words if it cannot.
fn cell(args: &AppArgs) -> String {
    let AppArgs { name, examples, explanations, port, read_only, context, log, .. } = args;
    let owned = |text: &String| format!("{text:?}.to_owned()");
    let context = context.map(|tokens| tokens.to_string());
    format!(
        "if let Err(error) = eigenlens::app::main(&eigenlens::app::AppArguments {{\n    \
         name: {name:?}.to_owned(),\n    examples: {},\n    explanations: {},\n    port: {},\n    \
         context: {},\n    read_only: {read_only},\n    log: {log},\n}}) {{\n    \
         eprintln!(\"error: {{error}}\");\n    std::process::exit(1);\n}}",
        option(examples.as_ref().map(owned)),
        option(explanations.as_ref().map(owned)),
        port.unwrap_or_default(),
        option(context),
    )
}

/// An option as code.
fn option(value: Option<String>) -> String {
    value.map_or_else(|| "None".to_owned(), |value| format!("Some({value})"))
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        args: AppArgs,
    }

    #[test]
    fn what_is_told_becomes_code() {
        let of = |line: &[&str]| {
            cell(&Line::parse_from([&["app"], line].concat()).args).replace(['\n', ' '], "")
        };
        let plain = of(&[]);
        assert!(plain.contains("\"eigenlens/classics-mlsae\".to_owned()"), "{plain}");
        let expected = "examples:None,explanations:None,port:0,context:None,read_only:false";
        assert!(plain.contains(expected), "{plain}");
        let name = "a \"quoted\" \\ name";
        let told = of(&[name, "--port", "80", "--context", "9", "--read-only", "--examples", "e"]);
        assert!(told.contains(r#"name:"a\"quoted\"\\name".to_owned()"#), "{told}");
        let expected = "examples:Some(\"e\".to_owned()),explanations:None,port:80,context:Some(9)";
        assert!(told.contains(expected), "{told}");
        let told = of(&["--explanations", "a \"file\""]);
        assert!(told.contains(r#"explanations:Some("a\"file\"".to_owned())"#), "{told}");
    }
}
