//! What one principal may have of what all subscribers share.
//!
//! Bounds of a few, so that the next one shows; the random histories of the parent module have several principals, too.

use super::*;

#[test]
fn one_principal_does_not_keep_the_others_out() {
    let config = Config { principal_subscribers_max: 2, principal_items_max: 3, ..DEFAULTS };
    let mut hub = Hub::new(config);
    step(&mut hub, 0, join_of(1, 1, "t://a t://b"));

    assert_eq!(hub.step(at(0), join_of(1, 2, "t://c #d")), Err(Rejection::TooManyItemsOfPrincipal { max: 3 }));
    step(&mut hub, 0, join_of(1, 3, "t://c"));
    assert_eq!(hub.step(at(0), join_of(1, 4, "tools")), Err(Rejection::TooManyOfPrincipal { max: 2 }));
    step(&mut hub, 0, join_of(2, 5, "t://a t://b t://c"));

    step(&mut hub, 0, leave(1));
    step(&mut hub, 0, join_of(1, 6, "t://d t://e"));
}
