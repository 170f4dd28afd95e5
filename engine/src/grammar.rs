//! From SQL to a plan.

use datafusion::common::{Result, not_impl_err, plan_err};
use datafusion::error::DataFusionError;
use datafusion::execution::context::SessionContext;
use datafusion::logical_expr::LogicalPlan;
use datafusion::sql::parser::{DFParserBuilder, Statement};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan, Tokenizer};

use crate::unnest;

/// The plan of a query.
///
/// # Errors
/// If the query is not one statement of SQL over the tables of the session.
pub(crate) async fn plan(context: &SessionContext, sql: &str) -> Result<LogicalPlan> {
    let state = context.state();
    let limit = state.config_options().sql_parser.recursion_limit.get();
    unnest::without_keys(state.statement_to_plan(statement(sql, limit)?).await?)
}

fn statement(sql: &str, recursion_limit: usize) -> Result<Statement> {
    let dialect = GenericDialect {};
    let mut tokens = Tokenizer::new(&dialect, sql)
        .tokenize_with_location()
        .map_err(|error| DataFusionError::SQL(Box::new(error.into()), None))?;
    free_top(&mut tokens);
    let parser = DFParserBuilder::new(tokens).with_dialect(&dialect);
    let mut statements =
        parser.with_recursion_limit(recursion_limit).build()?.parse_statements()?;
    match (statements.pop_front(), statements.is_empty()) {
        (Some(statement), true) => Ok(statement),
        (Some(_), false) => not_impl_err!("a query is one statement, found several"),
        (None, _) => plan_err!("a query is one statement, found none"),
    }
}

/// Makes `top(` a call of a function wherever it is: the parser takes it for SQL Server's `TOP` right
/// after `SELECT`.
fn free_top(tokens: &mut [TokenWithSpan]) {
    let is_space = |token: &TokenWithSpan| matches!(token.token, Token::Whitespace(_));
    for at in 0..tokens.len() {
        let (own, rest) = tokens.split_at_mut(at + 1);
        let calls = rest.iter().find(|token| !is_space(token));
        if let Token::Word(word) = &mut own[at].token
            && word.keyword == Keyword::TOP
            && calls.is_some_and(|token| token.token == Token::LParen)
        {
            word.keyword = Keyword::NoKeyword;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn top_is_a_function_wherever_it_is_called() {
        for sql in [
            "select top(value, context, position, 3) from codes",
            "SELECT DISTINCT Top (value, context, position, 3) FROM codes",
            "select feature, top(value, 1, 2, 3) from codes group by feature",
        ] {
            let Ok(Statement::Statement(parsed)) = statement(sql, 50) else { panic!("{sql}") };
            assert!(parsed.to_string().to_lowercase().contains("top(value, "), "{parsed}");
        }
    }

    #[test]
    fn a_query_is_one_statement() {
        let said = |sql: &str| statement(sql, 50).unwrap_err().to_string();
        assert!(said("select 1; select 2").contains("found several"));
        assert!(said(" -- nothing").contains("found none"));
        assert!(said("select 'open").contains("Unterminated string literal"));
    }
}
