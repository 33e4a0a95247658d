//! Records: read on from any of them, and verified.

use quorate_audit::{Audit, Change, Config, Event, Names};
use quorate_membership::identity::Role;
use quorate_proto::admin::v1 as wire;

use crate::harness::{Harness, operator};

fn change(number: usize) -> Event {
    Event::AdminChange(Change {
        by: "a test".into(),
        outcome: "applied",
        file: None,
        detail: Some(format!("change {number}").as_str().into()),
        added: Names::default(),
        changed: Names::default(),
        removed: Names::default(),
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn records_are_read_on_and_a_changed_one_is_found() {
    let harness = Harness::new().await;
    let folder = harness.folder().join("audit");
    let (log, _) = Audit::open(&Config::new(folder.clone(), "n1")).expect("it opens");
    for number in 0..20 {
        log.record(change(number));
    }
    assert!(log.close(std::time::Duration::from_secs(60)));
    let mut audit = harness.of(operator("eve", Role::Viewer)).audit();

    let mut numbers = Vec::new();
    let mut after = 0;
    loop {
        let mut page = audit.read(wire::ReadAuditRequest { after, limit: 7 }).await.expect("it is read").into_inner();
        let mut count = 0;
        while let Some(record) = page.message().await.expect("it goes on") {
            let json: serde_json::Value = serde_json::from_slice(&record.json).expect("JSON");
            assert_eq!(json["sequence"], record.number);
            numbers.push(record.number);
            (after, count) = (record.number, count + 1);
        }
        assert!(count <= 7);
        if count == 0 {
            break;
        }
    }
    assert!(numbers.len() >= 20 && numbers.is_sorted_by(|one, next| one + 1 == *next), "{numbers:?}");
    let verified = audit.verify(wire::VerifyAuditRequest {}).await.expect("it is read").into_inner();
    assert_eq!((verified.whole, verified.records, verified.finding.as_str()), (true, numbers.len() as u64, ""));

    let file = std::fs::read_dir(&folder).expect("it is there").flatten().map(|entry| entry.path());
    let file = file
        .into_iter()
        .find(|path| path.extension().is_some_and(|extension| extension == "jsonl"))
        .expect("a segment");
    let text = std::fs::read_to_string(&file).expect("it is readable");
    std::fs::write(&file, text.replace("change 7", "change 8")).expect("writes");
    let broken = audit.verify(wire::VerifyAuditRequest {}).await.expect("it is read").into_inner();
    assert!(!broken.whole && broken.finding.contains("the record was changed"), "{broken:?}");
}
