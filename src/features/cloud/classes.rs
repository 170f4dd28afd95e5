//! Classes of tokens that colours stand for: weekdays, months, years.

use std::collections::HashMap;
use std::fmt;

use crate::display::show_as_text;
use crate::{Error, Result};

/// Classes of tokens in an order, such as the days of the week, each with the ways it is written. A
/// token belongs to a class if, in lower case and without the spaces around it, it is one of these.
///
/// ```
/// use eigenlens::features::TokenClasses;
/// let days = TokenClasses::weekdays();
/// assert_eq!(days.class_of(" Tues"), Some(1));
/// assert_eq!(days.names()[1], "Tuesday");
/// # Ok::<(), eigenlens::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenClasses {
    names: Vec<String>,
    places: HashMap<String, usize>,
}

impl TokenClasses {
    /// Classes of the names `names`, each with other ways to write it.
    ///
    /// # Errors
    /// No classes, or a way of writing that belongs to two.
    pub fn new<N: Into<String>, W: Into<String>>(
        classes: impl IntoIterator<Item = (N, Vec<W>)>,
    ) -> Result<Self> {
        let (mut names, mut places): (Vec<String>, HashMap<String, usize>) = Default::default();
        for (place, (name, others)) in classes.into_iter().enumerate() {
            let name: String = name.into();
            let ways = others.into_iter().map(Into::into).chain([name.clone()]);
            for way in ways.map(|way| plain(&way)) {
                match places.insert(way.clone(), place) {
                    Some(other) if other != place => {
                        let found = format!("`{way}` in {} and {name}", names[other]);
                        return Err(Error::invalid("the classes", "of different tokens", found));
                    }
                    _ => {}
                }
            }
            names.push(name);
        }
        match names.is_empty() {
            true => Err(Error::invalid("the classes", "at least one", "none")),
            false => Ok(Self { names, places }),
        }
    }

    /// Classes that are known to be good.
    fn known(classes: &[(&str, &[&str])]) -> Self {
        let names = classes.iter().map(|(name, _)| (*name).to_owned()).collect();
        let places = classes.iter().enumerate().flat_map(|(place, (name, others))| {
            others.iter().chain([name]).map(move |way| (plain(way), place))
        });
        Self { names, places: places.collect() }
    }

    /// Monday to Sunday, with plurals and the study's short forms.
    pub fn weekdays() -> Self {
        Self::known(&[
            ("Monday", &["mondays", "mon"]),
            ("Tuesday", &["tuesdays", "tues"]),
            ("Wednesday", &["wednesdays", "wed"]),
            ("Thursday", &["thursdays", "thurs"]),
            ("Friday", &["fridays", "fri"]),
            ("Saturday", &["saturdays", "sat"]),
            ("Sunday", &["sundays", "sun"]),
        ])
    }

    /// January to December, with their first three letters.
    pub fn months() -> Self {
        Self::known(&[
            ("January", &["jan"]),
            ("February", &["feb"]),
            ("March", &["mar"]),
            ("April", &["apr"]),
            ("May", &[]),
            ("June", &["jun"]),
            ("July", &["jul"]),
            ("August", &["aug"]),
            ("September", &["sep"]),
            ("October", &["oct"]),
            ("November", &["nov"]),
            ("December", &["dec"]),
        ])
    }

    /// 1900 to 1999.
    pub fn years() -> Self {
        let names: Vec<String> = (1900..2000).map(|year: u32| year.to_string()).collect();
        let places = names.iter().cloned().zip(0..).collect();
        Self { names, places }
    }

    /// The names, in order.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The place of a token's class among the names.
    pub fn class_of(&self, token: &str) -> Option<usize> {
        self.places.get(&plain(token)).copied()
    }
}

/// A token in lower case, without the spaces around it.
fn plain(token: &str) -> String {
    token.trim().to_lowercase()
}

show_as_text!(TokenClasses);

impl fmt::Display for TokenClasses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.names {
            [first, .., last] => {
                write!(f, "{} classes of tokens, {first} to {last}", self.names.len())
            }
            names => write!(f, "the class of tokens {}", names.concat()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_belong_to_the_classes_of_the_study() {
        let days = TokenClasses::weekdays();
        for (token, class) in
            [(" Monday", 0), ("tues", 1), (" Thurs", 3), ("SUNDAYS", 6), ("sat", 5)]
        {
            assert_eq!(days.class_of(token), Some(class), "{token}");
        }
        assert!(["thu", "tue", "days", ""].iter().all(|token| days.class_of(token).is_none()));
        let months = TokenClasses::months();
        assert_eq!((months.class_of(" may"), months.class_of("Dec")), (Some(4), Some(11)));
        assert_eq!(months.names().len(), 12);
        let years = TokenClasses::years();
        assert_eq!((years.class_of(" 1999"), years.class_of("2000")), (Some(99), None));
        assert_eq!(years.to_string(), "100 classes of tokens, 1900 to 1999");
    }

    #[test]
    fn classes_of_ones_own_are_checked() {
        let notes = TokenClasses::new([("C", vec!["do"]), ("D", vec!["re", "Re "])]).unwrap();
        assert_eq!((notes.class_of(" DO"), notes.class_of("d")), (Some(0), Some(1)));
        let error = TokenClasses::new([("C", vec!["x"]), ("D", vec!["X"])]).unwrap_err();
        assert!(error.to_string().contains("`x` in C and D"), "{error}");
        assert!(TokenClasses::new(Vec::<(String, Vec<String>)>::new()).is_err());
    }
}
