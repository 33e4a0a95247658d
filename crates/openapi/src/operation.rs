//! The operations of a document, in its order.
//!
//! A path item that cannot be read costs its own operations and nothing else: what is wrong with it comes out beside
//! those that could be read. Webhooks and callbacks are not operations here: they are calls of the API to somebody.

use http::Method;

use crate::document::Document;
use crate::node::Node;
use crate::problem::{Fault, Reason, shown};

/// The methods that an operation may have, as keys of a path item.
const METHODS: [(&str, Method); 7] = [
    ("get", Method::GET),
    ("put", Method::PUT),
    ("post", Method::POST),
    ("delete", Method::DELETE),
    ("options", Method::OPTIONS),
    ("head", Method::HEAD),
    ("patch", Method::PATCH),
];

/// One operation.
#[derive(Clone, Debug)]
pub(crate) struct Operation<'d> {
    pub(crate) method: Method,
    /// The path template, as the key in `paths`.
    pub(crate) path: &'d str,
    /// The path item.
    pub(crate) item: Node<'d>,
    /// The operation itself.
    pub(crate) node: Node<'d>,
    pub(crate) id: Option<&'d str>,
    pub(crate) tags: Vec<&'d str>,
}

/// What is wrong with an operation, named as `GET /pets`.
pub(crate) type Broken = (String, Fault);

// === impl Operation ===

impl Operation<'_> {
    /// Names the operation as people do: `GET /pets`.
    pub(crate) fn label(&self) -> String {
        format!("{} {}", self.method, self.path)
    }
}

/// Lists all operations, and what is wrong with those that cannot be listed.
///
/// # Errors
/// A fault of the document when it has no paths at all.
pub(crate) fn all(document: &Document) -> Result<(Vec<Operation<'_>>, Vec<Broken>), Fault> {
    let root = document.node();
    let missing = || root.fault(Reason::Missing { what: "the key paths, with the operations,".to_owned() });
    let paths = root.get("paths").ok_or_else(missing)?;
    let (mut operations, mut broken) = (Vec::new(), Vec::new());
    for (path, item) in paths.members()? {
        // Extensions may stand beside paths.
        if !path.starts_with('/') {
            if !path.starts_with("x-") {
                let reason = Reason::Invalid { value: shown(path), message: "a path begins with /".to_owned() };
                broken.push((path.to_owned(), item.fault(reason)));
            }
            continue;
        }
        match document.resolve(item).and_then(|item| item.object().map(|_| item.clone())) {
            Ok(item) => of_item(document, path, &item, &mut operations, &mut broken),
            Err(fault) => broken.push((path.to_owned(), fault)),
        }
    }
    Ok((operations, broken))
}

fn of_item<'d>(
    document: &'d Document,
    path: &'d str,
    item: &Node<'d>,
    operations: &mut Vec<Operation<'d>>,
    broken: &mut Vec<Broken>,
) {
    for (key, method) in METHODS {
        let Some(node) = item.get(key) else { continue };
        match one(document, path, item, method.clone(), node) {
            Ok(operation) => operations.push(operation),
            Err(fault) => broken.push((format!("{method} {path}"), fault)),
        }
    }
    if let Some(node) = item.get("trace") {
        let what = "the method TRACE, which sends credentials back,".to_owned();
        broken.push((format!("TRACE {path}"), node.fault(Reason::Unsupported { what, hint: "" })));
    }
}

fn one<'d>(
    document: &'d Document,
    path: &'d str,
    item: &Node<'d>,
    method: Method,
    node: Node<'d>,
) -> Result<Operation<'d>, Fault> {
    let node = document.resolve(node)?;
    node.object()?;
    let id = node.text_of("operationId")?;
    let tags = match node.get("tags") {
        Some(tags) => tags.items()?.map(|tag| tag.text()).collect::<Result<_, _>>()?,
        None => Vec::new(),
    };
    Ok(Operation { method, path, item: item.clone(), node, id, tags })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::Format;
    use crate::limits::DEFAULTS;

    #[test]
    fn what_is_wrong_with_one_item_costs_only_that_item() {
        let text = r##"
openapi: 3.1.0
paths:
  x-note: {}
  pets: {}
  /a:
    parameters: []
    post: {operationId: make, tags: [one, two]}
    get: {}
    trace: {}
  /b: {$ref: '#/components/pathItems/b'}
  /c: {$ref: 'other.yaml'}
  /d: [1]
  /e: {get: {operationId: 7}, put: {}}
components: {pathItems: {b: {delete: {tags: []}}}}
"##;
        let document = Document::read(text, Format::Yaml, &DEFAULTS).expect("is read");
        let (operations, broken) = all(&document).expect("has paths");

        let labels: Vec<String> = operations.iter().map(Operation::label).collect();
        assert_eq!(labels, ["GET /a", "POST /a", "DELETE /b", "PUT /e"]);
        assert_eq!((operations[1].id, &operations[1].tags[..]), (Some("make"), &["one", "two"][..]));
        let labels: Vec<&str> = broken.iter().map(|(label, _)| label.as_str()).collect();
        assert_eq!(labels, ["pets", "TRACE /a", "/c", "/d", "GET /e"]);
    }

    #[test]
    fn a_document_without_paths_is_a_fault() {
        let document = Document::read("openapi: 3.1.0", Format::Yaml, &DEFAULTS).expect("is read");
        assert!(all(&document).is_err());
    }
}
