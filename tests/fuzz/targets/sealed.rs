//! Sealed identifiers (session ids, task ids, cursors): what we did not seal does not open, and a position survives its
//! cursor. The key is known to the fuzzer's process only through the seeds, which hold texts sealed with it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use quorate_mcp::ListKind;
use quorate_mcp::cursor::{self, Binding, Epoch, Position};
use quorate_types::seal::{KEY_BYTES, NONCE_BYTES, Purpose};
use quorate_types::{PrincipalDigest, ResourceName, Sealer};

const PURPOSES: [Purpose; 4] = [Purpose::Session, Purpose::Task, Purpose::Cursor, Purpose::RequestState];

fuzz_target!(|input: &[u8]| {
    let sealer = Sealer::new(&[7; KEY_BYTES]);
    if let Ok(text) = std::str::from_utf8(input) {
        let opened = PURPOSES.iter().filter(|purpose| sealer.open(**purpose, text).is_ok()).count();
        assert!(opened <= 1, "a text opens for two purposes");
        let toolset = ResourceName::new("default").expect("a plain name");
        for kind in ListKind::ALL {
            let binding = Binding { kind, toolset: &toolset, principal: PrincipalDigest([3; 16]) };
            let _ = cursor::open(&sealer, text, &binding);
        }
    }
    position_survives(&sealer, input);
    change_is_noticed(&sealer, input);
});

fn position_survives(sealer: &Sealer, input: &[u8]) {
    let Some((offset, rest)) = input.split_first_chunk::<4>() else { return };
    let Some((epoch, _)) = rest.split_first_chunk::<16>() else { return };
    let toolset = ResourceName::new("default").expect("a plain name");
    let binding = Binding { kind: ListKind::Tools, toolset: &toolset, principal: PrincipalDigest([3; 16]) };
    let position = Position { epoch: Epoch(*epoch), offset: u32::from_be_bytes(*offset) };

    let text = cursor::seal(sealer, position, &binding, &[9; NONCE_BYTES]);

    assert_eq!(cursor::open(sealer, &text, &binding), Ok(position));
    assert!(cursor::open(sealer, &text, &Binding { kind: ListKind::Prompts, ..binding }).is_err());
    assert!(cursor::open(sealer, &text, &Binding { principal: PrincipalDigest([4; 16]), ..binding }).is_err());
}

/// The first byte says where a sealed text is changed, the second to what.
fn change_is_noticed(sealer: &Sealer, input: &[u8]) {
    let &[at, to, ref plaintext @ ..] = input else { return };
    let mut sealed = sealer.seal_stable(Purpose::Session, &plaintext[..plaintext.len().min(64)]).into_bytes();
    let at = usize::from(at) % sealed.len();
    if sealed[at] == to {
        return;
    }
    sealed[at] = to;
    if let Ok(text) = String::from_utf8(sealed) {
        assert!(sealer.open(Purpose::Session, &text).is_err(), "a changed text opens");
    }
}
