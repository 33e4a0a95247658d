//! The tool server as a program: lines on the standard input, prepared bytes on the standard output.
//!
//! The same answers as over HTTP, from one thread that reads what is there, answers all of it, and writes once. What a
//! call costs here is the echo server's share of a call over standard streams; it ends with its input.

use std::io::{self, BufRead, BufReader, Write};
use std::process::ExitCode;

use anyhow::Result;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::backend::Answers;

/// Bytes that are read at once: a pipe's worth.
const BUFFER_BYTES: usize = 64 << 10;

/// How to serve.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Knows sessions only.
    #[arg(long)]
    legacy: bool,
}

/// The members of a request that are looked at.
#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    method: std::borrow::Cow<'a, str>,
}

/// Runs the process.
///
/// # Errors
/// When the standard streams break, or bring what is no message.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    serve(args.legacy, io::stdin().lock(), io::stdout().lock())?;
    Ok(ExitCode::SUCCESS)
}

fn serve(legacy_only: bool, input: impl io::Read, mut output: impl Write) -> Result<()> {
    let answers = Answers::new(legacy_only);
    let mut input = BufReader::with_capacity(BUFFER_BYTES, input);
    let (mut line, mut out) = (Vec::new(), Vec::with_capacity(BUFFER_BYTES));
    while input.read_until(b'\n', &mut line)? > 0 {
        let message: Message<'_> = serde_json::from_slice(&line)?;
        if let Some(id) = message.id {
            out.extend_from_slice(b"{\"jsonrpc\":\"2.0\",\"id\":");
            out.extend_from_slice(id.get().as_bytes());
            match answers.of(&message.method, &line) {
                Some(members) => {
                    out.extend_from_slice(b",\"result\":{");
                    out.extend_from_slice(members);
                    out.extend_from_slice(b"}}\n");
                }
                None => out.extend_from_slice(b",\"error\":{\"code\":-32601,\"message\":\"no such method\"}}\n"),
            }
        }
        line.clear();
        // What else has come is answered first: one write for all.
        if input.buffer().is_empty() {
            output.write_all(&out)?;
            output.flush()?;
            out.clear();
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::Answer;
    use crate::message::{JSON, Measure};

    #[test]
    fn every_measure_gets_its_answer() {
        for (measure, legacy) in
            [(Measure::ModernCall, false), (Measure::LegacyCall, true), (Measure::ToolsList, false)]
        {
            let (id, mut body) = measure.request(41);
            body = [&body[..], b"\n"].concat().into();
            let mut output = Vec::new();

            serve(legacy, &body[..], &mut output).unwrap();

            let mut headers = http::HeaderMap::new();
            headers.insert(http::header::CONTENT_TYPE, JSON);
            let answer = Answer::new(http::StatusCode::OK, headers, output.into());
            measure.check_whole(&id, &answer).unwrap();
        }
    }

    #[test]
    fn a_server_of_sessions_knows_no_discovery() {
        let mut output = Vec::new();
        serve(true, &b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"server/discover\"}\n"[..], &mut output).unwrap();
        assert!(String::from_utf8(output).unwrap().contains("-32601"));
    }
}
