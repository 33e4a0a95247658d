//! `quorate get`: documents as the cluster has them.
//!
//! As YAML they are documents that `apply` takes again; as JSON they come with the revision, the time and the author of
//! their last change. Secrets come as the cluster gives them.

use std::path::Path;

use quorate_client::{Client, Method as _, json};
use quorate_config::Document;
use quorate_proto::admin::v1 as proto;
use quorate_types::TenantId;

use super::PAGE;
use crate::answer::{self, shown_time};
use crate::cli::cluster::Output;
use crate::cli::resources::GetArgs;
use crate::exit::{Exit, Failure};
use crate::table::Table;
use crate::{output, target};

/// All kinds.
const ALL: &str = "all";
/// The most documents that are listed: as many as a set has.
const DOCUMENTS_MAX: usize = quorate_config::DOCUMENTS_MAX + quorate_config::API_KEYS_MAX;

/// Runs the command.
///
/// # Errors
/// [`Failure`] when there is no such document.
pub(crate) async fn get(context: Option<&Path>, args: &GetArgs) -> Result<(), Failure> {
    let client = target::client(context, &args.target)?;
    match &args.name {
        Some(name) => {
            let kind = super::kind(&args.kind)?.as_str().to_owned();
            let tenant = args.tenant.as_ref().map_or(TenantId::DEFAULT, TenantId::as_str).to_owned();
            let request = proto::GetRequest { kind, tenant, name: name.to_string(), revision: args.revision };
            let resource = client.call(request).await.map_err(target::of_client)?;
            match args.output.output {
                Output::Json => answer::print::<proto::GetRequest>(Output::Json, &resource, |_| String::new()),
                Output::Table => output::print(&table(std::slice::from_ref(&resource))),
                Output::Yaml => output::print(&yaml(std::slice::from_ref(&resource))?),
            }
        }
        None => list(&client, args).await,
    }
}

async fn list(client: &Client, args: &GetArgs) -> Result<(), Failure> {
    let kind =
        if args.kind.eq_ignore_ascii_case(ALL) { String::new() } else { super::kind(&args.kind)?.as_str().into() };
    let tenant = args.tenant.as_ref().map(ToString::to_string).unwrap_or_default();
    let all = all(client, kind, tenant).await?;
    match args.output.output {
        Output::Table => output::print(&table(&all.resources)),
        Output::Yaml => output::print(&yaml(&all.resources)?),
        Output::Json => {
            let mut value = json::of(proto::ListRequest::ANSWER, &all);
            if let Some(members) = value.as_object_mut() {
                members.shift_remove("nextPageToken");
            }
            answer::print_value(Output::Json, &value)
        }
    }
}

/// Asks for all pages.
async fn all(client: &Client, kind: String, tenant: String) -> Result<proto::ListResponse, Failure> {
    let mut all = proto::ListResponse::default();
    loop {
        let page_token = std::mem::take(&mut all.next_page_token);
        let request = proto::ListRequest { kind: kind.clone(), tenant: tenant.clone(), page_size: PAGE, page_token };
        let page = client.call(request).await.map_err(target::of_client)?;
        all.resources.extend(page.resources);
        all.revision = page.revision;
        all.next_page_token = page.next_page_token;
        if all.next_page_token.is_empty() {
            return Ok(all);
        }
        if all.resources.len() > DOCUMENTS_MAX {
            return Err(Failure::new(Exit::Failure, "the list of documents does not come to an end"));
        }
    }
}

fn table(resources: &[proto::Resource]) -> String {
    let mut table = Table::new(["KIND", "TENANT", "NAME", "REVISION", "CHANGED", "BY"]);
    for resource in resources {
        let document = resource.document.clone().unwrap_or_default();
        let tenant = if document.tenant.is_empty() { TenantId::DEFAULT.to_owned() } else { document.tenant };
        let changed = shown_time(resource.changed_at.as_ref());
        table.row([
            document.kind,
            tenant,
            document.name,
            resource.revision.to_string(),
            changed,
            resource.changed_by.clone(),
        ]);
    }
    if table.is_empty() { "no documents\n".to_owned() } else { table.render() }
}

/// Writes documents so that `apply` takes them again.
fn yaml(resources: &[proto::Resource]) -> Result<String, Failure> {
    let mut text = String::new();
    for (number, resource) in resources.iter().enumerate() {
        let content = resource.document.as_ref().map(|document| document.json.as_ref()).unwrap_or_default();
        let tree = Document::for_people(content).map_err(|error| {
            Failure::new(Exit::Failure, format!("the cluster sent a document that is none: {error}"))
        })?;
        if number > 0 {
            text.push_str("---\n");
        }
        text.push_str(&answer::yaml(&tree)?);
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use quorate_config::Source;
    use quorate_config::document::of_sources;

    use super::*;

    fn resource(json: &'static str) -> proto::Resource {
        let document = proto::Document {
            kind: "ToolServer".into(),
            name: "files".into(),
            json: bytes::Bytes::from_static(json.as_bytes()),
            ..proto::Document::default()
        };
        proto::Resource { document: Some(document), revision: 3, changed_by: "ana".into(), changed_at: None }
    }

    #[test]
    fn documents_are_a_table_with_who_changed_them() {
        let expected = "\
KIND        TENANT   NAME   REVISION  CHANGED  BY
ToolServer  default  files  3         -        ana
";
        assert_eq!(table(&[resource("{}")]), expected);
        assert_eq!(table(&[]), "no documents\n");
    }

    #[test]
    fn what_is_printed_as_yaml_is_applied_as_the_same_documents() {
        let jsons = [
            r#"{"kind":"ToolServer","name":"files","spec":{"urls":["http://127.0.0.1:9001/mcp"]}}"#,
            r#"{"kind":"Toolset","name":"default","spec":{"servers":["files"]}}"#,
        ];

        let text = yaml(&jsons.map(resource)).unwrap();
        let read = of_sources(&[Source { file: "all.yaml".into(), text: text.clone() }])
            .unwrap_or_else(|e| panic!("{e}\n{text}"));

        let contents: Vec<&str> = read.iter().map(|one| std::str::from_utf8(&one.content).unwrap()).collect();
        assert_eq!(contents, jsons, "{text}");
        assert!(text.starts_with("kind: ToolServer\nname: files\n"), "{text}");
    }
}
