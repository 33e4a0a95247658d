//! `quorate recover`: a new cluster of what one node has, when the others are gone for good.
//!
//! ```text
//! look (changes nothing) ─▶ without `--unsafe`: say what would be done, refuse
//!                        └▶ with it: say what is done, do it, say what comes next
//! ```
//!
//! Works on the data folder itself, as no node runs. What is about the run goes to stderr, the result to stdout.

use std::path::Path;

use quorate_member::{Found, Recoverable, Recovered, Survivor, recover};
use quorate_membership::authority::NODE_LIFETIME;
use quorate_runtime::shards::Shards;
use quorate_types::rfc3339;
use serde_json::{Value, json};

use crate::answer::{self, counted};
use crate::cli::cluster::Output;
use crate::cli::recover::RecoverArgs;
use crate::exit::{Exit, Failure};
use crate::output;
use crate::peers::{LEVELS, machines, of_error};
use crate::run::shown;

/// Runs the command.
///
/// # Errors
/// [`Failure`] without `--unsafe`, and when the folder cannot be recovered, with the way out.
pub(crate) async fn run(args: &RecoverArgs) -> Result<(), Failure> {
    let files = args.certificates.files();
    let machines = machines(&Shards::new());
    let looked = recover(args.data_dir.clone(), machines, LEVELS, NODE_LIFETIME, files.as_ref()).await;
    let (recovered, survived) = match looked.map_err(|error| of_error(&error))? {
        Recoverable::Survivor(survivor) => {
            let survived = json_of(&survivor);
            output::note(&output::visible(&before(&survivor)));
            if !args.is_unsafe {
                return Err(refused("nothing was changed"));
            }
            (survivor.make().await, survived)
        }
        Recoverable::Halfway(halfway) => {
            output::note(&format!("an attempt to make a new cluster of cluster {} was not finished", halfway.old()));
            if !args.is_unsafe {
                return Err(refused("no node starts on the folder before it is"));
            }
            (halfway.finish(), json!({}))
        }
    };
    let recovered = recovered.map_err(|error| of_error(&error))?;
    match args.output.output {
        Output::Table => output::print(&output::visible(&after(&args.data_dir, &recovered))),
        output => answer::print_value(output, &merged(survived, &recovered)),
    }
}

fn refused(what: &str) -> Failure {
    Failure::new(Exit::Refused, format!("this is not done without `--unsafe`; {what}")).advise(
        "if a majority of the nodes can be brought back, start them instead: nothing is lost then. If they are gone for \
         good, run the command again with `--unsafe`",
    )
}

/// What is there, and what becomes of it.
fn before(survivor: &Survivor) -> String {
    let identity = survivor.identity();
    let catalog = survivor.catalog();
    let mut text = format!(
        "node {} of cluster {} has {} in {}, at revision {}:\n",
        answer::node(identity.node.0, identity.name.as_str()),
        identity.cluster,
        counted(catalog.documents().len(), "document"),
        counted(catalog.shards().count(), "shard"),
        catalog.revision(),
    );
    for found in survivor.found() {
        text.push_str(&format!("  {}\n", replica(found)));
    }
    let missing: Vec<String> = survivor.missing().iter().map(ToString::to_string).collect();
    if !missing.is_empty() {
        text.push_str(&format!("without a replica here, so that they begin empty: {}\n", missing.join(", ")));
    }
    text.push_str(
        "\nA new cluster is made of this, with a new id and this node alone. LOST is what the other nodes acknowledged after the \
         entries above. Entries that are here and not known to be committed are kept, also where nobody was told that they \
         are.\n",
    );
    let others: Vec<String> =
        survivor.others().iter().map(|(node, name)| answer::node(node.0, name.as_str())).collect();
    if !others.is_empty() {
        text.push_str(&format!(
            "Not in the new cluster, and refused by it if they come back: {}. Do not let them serve.\n",
            others.join(", ")
        ));
    }
    text
}

fn replica(found: &Found) -> String {
    let time =
        found.time.map_or_else(|| "no command".to_owned(), |time| format!("last command {}", rfc3339::format(time)));
    let unknown = found.last.saturating_sub(found.committed);
    let unknown =
        if unknown == 0 { String::new() } else { format!(", the last {unknown} of them not known to be committed") };
    let voters: Vec<String> = found.voters.iter().map(ToString::to_string).collect();
    format!("{}: entries up to {}{unknown}, {time}, voted by nodes {}", found.group, found.last, voters.join(", "))
}

/// What was done, and what comes next.
fn after(data_dir: &Path, recovered: &Recovered) -> String {
    let Recovered { old, identity, kept, from_files } = recovered;
    let (as_before, operator) = if *from_files {
        let context = "context --certificate FILE --key FILE --authorities FILE --endpoint HOST:PORT --out OUT";
        ("as before, with the new files: it leads alone", context.to_owned())
    } else {
        let new = format!("new --data-dir {} --name NAME --role admin --out OUT", shown(data_dir));
        ("as before: it leads alone", new)
    };
    format!(
        "cluster {new} is made of node {node} of cluster {old}, which is no more\n\n\
         What comes next:\n  \
         1. quorate serve --data-dir {dir} …          # {as_before}\n  \
         2. quorate cluster operator {operator}\n     \
            # contexts and operators' certificates of the old cluster are worth nothing; API keys go on\n  \
         3. quorate cluster token new --data-dir {dir}  # one for each node that joins, on an empty data directory\n\n\
         The old node's files are in {kept}: remove them when nothing is missed.\n",
        new = identity.cluster,
        node = answer::node(identity.node.0, identity.name.as_str()),
        dir = shown(data_dir),
        kept = shown(kept),
    )
}

fn json_of(survivor: &Survivor) -> Value {
    let replica = |found: &Found| {
        json!({
            "group": found.group.0,
            "lastEntry": found.last,
            "committedEntry": found.committed,
            "lastCommandTime": found.time.map(rfc3339::format),
            "voters": found.voters.iter().map(|node| node.0).collect::<Vec<_>>(),
        })
    };
    let catalog = survivor.catalog();
    json!({
        "revision": catalog.revision(),
        "documents": catalog.documents().len(),
        "replicas": survivor.found().map(replica).collect::<Vec<_>>(),
        "emptyShards": survivor.missing().iter().map(|group| group.0).collect::<Vec<_>>(),
        "lostNodes": survivor.others().iter().map(|(node, name)| json!({"id": node.0, "name": name.as_str()})).collect::<Vec<_>>(),
    })
}

/// What an attempt that goes on does not know of the old cluster is left out.
fn merged(survived: Value, recovered: &Recovered) -> Value {
    let mut value = json!({
        "oldClusterId": recovered.old.to_string(),
        "clusterId": recovered.identity.cluster.to_string(),
        "node": recovered.identity.node.0,
        "name": recovered.identity.name.as_str(),
        "kept": shown(&recovered.kept),
    });
    if let (Some(all), Value::Object(more)) = (value.as_object_mut(), survived) {
        all.extend(more);
    }
    value
}
