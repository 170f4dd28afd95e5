//! What went wrong with a query, in words that say where in it and what there is instead.

use datafusion::error::DataFusionError;
use datafusion::sql::sqlparser::parser::ParserError;

/// A line and column in a query, both from 1.
type Place = (usize, usize);

/// The error in words, with the place in the query if it is known, and the tables and columns if
/// the query may have meant one of them.
pub(crate) fn words(error: &DataFusionError, sql: &str, tables: &[String]) -> String {
    let root = error.find_root();
    let mut message = root.message().into_owned();
    let span = error.diagnostic().and_then(|diagnostic| diagnostic.span);
    let mut place = span.map(|span| (span.start.line as usize, span.start.column as usize));
    if let DataFusionError::SQL(reason, _) = root {
        message = match &**reason {
            ParserError::TokenizerError(reason) | ParserError::ParserError(reason) => {
                reason.clone()
            }
            ParserError::RecursionLimitExceeded => "the query is nested too deep".to_owned(),
        };
        (message, place) = split_place(&message);
        if place.is_none() && message.ends_with("found: EOF") {
            place = Some(end(sql));
        }
    }
    // Where a library was built is no help.
    let mut text = message.split("\n\nbacktrace:").next().unwrap_or_default().trim().to_owned();
    if let Some((line, column)) = place.filter(|(line, column)| *line > 0 && *column > 0) {
        text += &format!(" (line {line}, column {column})");
        if let Some(source) = sql.lines().nth(line - 1) {
            text += &format!("\n  {source}\n  {}^", " ".repeat(column - 1));
        }
    }
    let planning = matches!(
        root,
        DataFusionError::SQL(..) | DataFusionError::Plan(_) | DataFusionError::SchemaError(..)
    );
    match root {
        DataFusionError::ResourcesExhausted(_) => {
            text += "\nThe query needs more memory than it may take: give it more, or ask for less \
                     at a time.";
        }
        _ if planning && !tables.is_empty() => {
            text += &format!("\nTables: {}", tables.join("\n        "));
        }
        _ => {}
    }
    text
}

/// The place behind the last character of a query.
fn end(sql: &str) -> Place {
    let sql = sql.trim_end();
    (sql.lines().count().max(1), sql.lines().last().unwrap_or_default().chars().count() + 1)
}

/// The parser's words, and the place with which they end.
fn split_place(message: &str) -> (String, Option<Place>) {
    let Some((words, place)) = message.rsplit_once(" at Line: ") else {
        return (message.to_owned(), None);
    };
    let numbers = place.split_once(", Column: ");
    let numbers =
        numbers.and_then(|(line, column)| Some((line.parse().ok()?, column.parse().ok()?)));
    (words.to_owned(), numbers)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{context_over, rows};

    async fn said(sql: &str) -> String {
        let context = context_over(&rows(10, 2, 3), 1, 10);
        let tables = crate::tables::describe(&context).await;
        let error = async {
            let plan = crate::grammar::plan(&context, sql).await?;
            context.execute_logical_plan(plan).await?.collect().await
        };
        let error = error.await.unwrap_err();
        words(&error, sql, &tables)
    }

    #[tokio::test]
    async fn a_mistyped_column_gets_its_place_and_the_names_there_are() {
        let error = said("select feature,\n  valeu from codes").await;
        assert!(error.contains("(line 2, column 3)"), "{error}");
        assert!(error.contains("\n    valeu from codes\n    ^"), "{error}");
        assert!(error.contains("Did you mean 'codes.value'?"), "{error}");
        assert!(error.contains("Tables: codes(feature, context, position, value)"), "{error}");
    }

    #[tokio::test]
    async fn a_mistyped_table_or_function_gets_the_names_there_are() {
        let error = said("select * from cods").await;
        assert!(error.contains("cods") && error.contains("Tables: codes("), "{error}");
        let error = said("select histogam(value) from codes").await;
        assert!(error.contains("Did you mean 'histogram'?"), "{error}");
    }

    #[tokio::test]
    async fn wrong_grammar_gets_its_place() {
        let error = said("select * from codes group order by feature").await;
        assert!(error.contains("(line 1, column 21)"), "{error}");
        assert!(!error.contains("ParserError") && !error.contains("at Line:"), "{error}");
        let error = said("select *\nfrom codes where").await;
        assert!(
            error.contains("(line 2, column 17)\n  from codes where\n                  ^"),
            "{error}"
        );
        assert!(!error.contains("ParserError") && !error.contains("at Line:"), "{error}");
    }

    #[tokio::test]
    async fn an_error_while_running_says_what_it_is() {
        let error = said("select 1 / (feature - feature) from codes").await;
        assert!(error.contains("Divide by zero"), "{error}");
        assert!(!error.contains("Tables:"), "{error}");
    }
}
