//! Walls between tenants: whatever one does with what it got hold of from another, it learns nothing and changes nothing.
//!
//! Two tenants share a gateway, a listener, a toolset of the operator's and its two servers, one of each era; each has a
//! server and a toolset of its own besides ([`world`]). One of them has sessions, tasks, a parked call, a cursor and names
//! ([`victim`]); the other has all of their texts and does with them, in any order, what clients can do ([`attack`]). Each
//! attempt is made twice, once with what is stolen and once with a counterfeit of the same shape that means nothing: the
//! answers may not differ, nor tell of anything that the caller did not send itself ([`history`]). What one caller may no
//! longer do, or not on another toolset, is in [`tasks`] and [`news`].

mod attack;
mod ground;
mod history;
mod news;
mod party;
mod servers;
mod tasks;
mod victim;
mod world;
