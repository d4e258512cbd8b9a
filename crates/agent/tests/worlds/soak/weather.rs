//! The faults during the test.

use std::{
    fs,
    sync::Arc,
    time::{Duration, Instant},
};

use scaivault_testkit::{
    SplitMix,
    world::{Answer, Calls, Chance, Misbehaviour},
};

use super::{
    agents::{Fleet, SECRETS},
    publish,
};
use crate::{answers::shuffle, site::soak_for};

/// Changes the faults every few seconds.
pub(super) async fn change(fleet: Arc<Fleet>, deadline: Instant, mut random: SplitMix) {
    while Instant::now() < deadline {
        fleet.world.clear();
        match random.below(8) {
            0 => {}
            1 => fleet.restart(Duration::from_millis(random.below(3000))).await,
            2 => fleet.vault.revoke_tokens(),
            _ => {
                for _ in 0..=random.below(3) {
                    let (calls, percent) = (calls(&mut random), 10 + random.below(60));
                    fleet.world.add(calls, Chance::Percent(percent), misbehaviour(&mut random));
                }
            }
        }
        soak_for(Duration::from_millis(1000 + random.below(4000))).await;
    }
}

fn calls(random: &mut SplitMix) -> Calls {
    let some = [
        Calls::ALL,
        Calls::EXCHANGE,
        Calls::READ,
        Calls::GENERATE,
        Calls::RENEW,
        Calls::REVOKE,
        Calls::SUBSCRIPTIONS,
    ];
    some[random.below(some.len())]
}

fn misbehaviour(random: &mut SplitMix) -> Misbehaviour {
    let answer = match random.below(10) {
        0 => Answer::error(401, "token_revoked"),
        1 => Answer::error(429, "rate_limited"),
        2 => Answer::error(429, "rate_limited").header("Retry-After", "2"),
        3 => Answer::error(429, "rate_limited").header("Retry-After", "Wed, 21 Oct 2099 07:28:00 GMT"),
        4 => Answer::error(500, "internal_error"),
        5 => Answer::error(503, "service_unavailable").header("Retry-After", "1"),
        6 => Answer::html(502),
        7 => Answer::html(200),
        8 => Answer::json(200, "{}"),
        _ => Answer::json(200, ""),
    };
    let seconds = Duration::from_secs(random.below(10));
    match random.below(12) {
        0..=3 => Misbehaviour::Answer(answer),
        4 => Misbehaviour::Slow(Duration::ZERO, seconds),
        5 | 6 => Misbehaviour::Lag(seconds),
        7 => Misbehaviour::Reshape(shuffle),
        8 => Misbehaviour::Truncate,
        9 => Misbehaviour::Cut,
        10 => Misbehaviour::Reset,
        _ => [Misbehaviour::ResetAnswer, Misbehaviour::Hang][random.below(2)].clone(),
    }
}

/// Writes new versions, some manually and some by rotation.
pub(super) async fn write(fleet: Arc<Fleet>, deadline: Instant, mut random: SplitMix) {
    while Instant::now() < deadline {
        fleet.write(random.below(SECRETS), random.below(2) == 0);
        soak_for(Duration::from_millis(100 + random.below(600))).await;
    }
}

/// Twice, at a third and at two thirds: both CAs in the bundle, then the server's certificate, then
/// only the new CA.
pub(super) async fn rotate_authorities(fleet: Arc<Fleet>, began: Instant, lasts: Duration) {
    for part in [1, 2] {
        soak_for((lasts * part / 3).saturating_sub(began.elapsed())).await;
        let old = fs::read_to_string(fleet.dir.path().join("ca/ca.crt")).unwrap();
        let new = fleet.world.new_authority().unwrap();
        publish(&fleet, &format!("{old}{new}"));
        fleet.restart(Duration::from_millis(100)).await;
        soak_for(lasts / 20).await;
        publish(&fleet, &new);
    }
}
