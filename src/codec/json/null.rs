use serde::{Deserialize, Deserializer};

/// Reads `null` as the default of a type, as Go does, through a field's `deserialize_with`.
///
/// Go's `encoding/json` writes a nil slice, map or pointer as `null`. serde reads `null` only as an
/// `Option`, or with this function. Add `default` for a field that may be absent.
///
/// Use a newtype where there is no field, such as in a list or for a whole message.
///
/// # Errors
///
/// Fails as the type does for a value other than `null`.
///
/// # Examples
///
/// ```
/// use h2conn::codec::json::null_as_default;
/// use serde::Deserialize;
///
/// // type Post struct {
/// //     Name string   `json:"name"`
/// //     Tags []string `json:"tags,omitempty"`
/// //     Next *Post    `json:"next"`
/// // }
/// #[derive(Deserialize, Debug, PartialEq)]
/// struct Post {
///     name: String,
///     #[serde(default, deserialize_with = "null_as_default")]
///     tags: Vec<String>,
///     next: Option<Box<Post>>,
/// }
///
/// let expected = Post { name: "a".to_owned(), tags: Vec::new(), next: None };
/// for text in [r#"{"name":"a","tags":null,"next":null}"#, r#"{"name":"a"}"#] {
///     assert_eq!(serde_json::from_str::<Post>(text)?, expected);
/// }
///
/// #[derive(Deserialize)]
/// #[serde(transparent)]
/// struct Number(#[serde(deserialize_with = "null_as_default")] i64);
///
/// let numbers: Vec<Number> = serde_json::from_str("[1,null,3]")?;
/// assert!(numbers.into_iter().map(|Number(number)| number).eq([1, 0, 3]));
/// # Ok::<(), serde_json::Error>(())
/// ```
pub fn null_as_default<'de, T, D>(deserializer: D) -> Result<T, D::Error>
where
    T: Deserialize<'de> + Default,
    D: Deserializer<'de>,
{
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}
