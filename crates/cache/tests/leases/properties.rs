//! What holds of leases whatever happens.

use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use tenantry_cache::{LeasedLimits, MemoryLimits, RateLimiter, Rule, TenantLimiter};
use tenantry_core::{ManualClock, TenantId};
use tokio::runtime::Builder;

use super::{clock, policy};

/// Something that a node does after a pause.
#[derive(Debug, Clone)]
struct Act {
    node: usize,
    pause: Duration,
    /// Takes back the newest of what was admitted, if there is any; or else takes this cost.
    takes_back: bool,
    cost: u64,
}

fn acts(refunds: bool) -> impl Strategy<Value = Vec<Act>> {
    let pause = prop_oneof![4 => 0_u64..3_000, 1 => 0_u64..300_000];
    let act =
        (0_usize..4, pause, 0_u8..10, 1_u64..40).prop_map(move |(node, pause, kind, cost)| Act {
            node,
            pause: Duration::from_micros(pause),
            takes_back: refunds && kind == 0,
            cost,
        });
    prop::collection::vec(act, 1..400)
}

/// A limit of which a lease is 2 to 250, in a window of 100 to 600 milliseconds.
fn rules() -> impl Strategy<Value = Rule> {
    let most = prop_oneof![200_u64..1_000, 1_001_u64..2_000];
    (most, 100_u64..600)
        .prop_map(|(most, window)| Rule::new("rule", most, Duration::from_millis(window)).unwrap())
}

struct Run {
    admitted: Vec<(Duration, u64)>,
    refused: Vec<(Duration, u64)>,
}

impl Run {
    /// Lets nodes before one backend act.
    fn of(nodes: u32, percent: u8, rule: &Rule, acts: &[Act]) -> Self {
        let clock = clock();
        let tenants = tenants(nodes, percent, &clock);
        let runtime = Builder::new_current_thread().build().unwrap();
        let limits = [rule.limit("")];
        let (mut now, mut admitted, mut refused) = (Duration::ZERO, Vec::new(), Vec::new());
        runtime.block_on(async {
            for act in acts {
                clock.advance(act.pause);
                now += act.pause;
                let tenant = &tenants[act.node % tenants.len()];
                let newest: Option<&(Duration, u64)> = admitted.last();
                match newest.copied().filter(|_| act.takes_back) {
                    Some((at, cost)) if at + rule.window() > now => {
                        tenant.refund(&limits, cost).await.unwrap();
                        admitted.pop();
                    }
                    _ => {
                        let taken = tenant.take(&limits, act.cost).await.unwrap();
                        let acts = match taken.is_admitted() {
                            true => &mut admitted,
                            false => &mut refused,
                        };
                        acts.push((now, act.cost));
                    }
                }
            }
        });
        Self { admitted, refused }
    }

    fn within(&self, span: Duration, until: Duration) -> u64 {
        within(&self.admitted, span, until)
    }
}

/// Returns the handles of one tenant on nodes before one backend.
fn tenants(nodes: u32, percent: u8, clock: &ManualClock) -> Vec<TenantLimiter> {
    let backend = Arc::new(MemoryLimits::with_clock(Arc::new(clock.clone())));
    let (id, policy) = (TenantId::generate(), policy(nodes).with_percent(percent));
    let handles = (0..nodes).map(|_| {
        let limits = LeasedLimits::new(Arc::clone(&backend) as Arc<_>, policy);
        let limits = limits.with_clock(Arc::new(clock.clone()));
        RateLimiter::new(Arc::new(limits)).tenant(id)
    });
    handles.collect()
}

/// Returns how much was admitted within a span that ends with this time.
fn within(admitted: &[(Duration, u64)], span: Duration, until: Duration) -> u64 {
    let is_within = |at: Duration| at <= until && at + span > until;
    let admitted = admitted.iter().filter(|(at, _)| is_within(*at));
    admitted.map(|(_, cost)| cost).sum()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn no_window_has_more_than_the_limit_and_what_was_held_and_nobody_is_refused_below(
        nodes in 1_u32..5,
        percent in 5_u8..50,
        rule in rules(),
        acts in acts(false),
    ) {
        let overshoot = policy(nodes).with_percent(percent).overshoot(&rule);
        let run = Run::of(nodes, percent, &rule, &acts);
        for (at, _) in &run.admitted {
            prop_assert!(run.within(rule.window(), *at) <= rule.most() + overshoot);
        }
        // The backend may count for longer by a sixtieth.
        let longest = rule.window() + rule.window() / 60 + Duration::from_nanos(2);
        for (at, cost) in &run.refused {
            prop_assert!(run.within(longest, *at) + cost > rule.most() - overshoot);
        }
    }

    /// Of a tenant and of two routes, of which one is too small for a lease.
    #[test]
    fn stacked_limits_each_admit_no_more_than_is_theirs(
        nodes in 1_u32..5,
        percent in 5_u8..50,
        of_tenant in rules(),
        acts in acts(false),
    ) {
        let policy = policy(nodes).with_percent(percent);
        let of_route = |most| Rule::new("route", most, of_tenant.window()).unwrap();
        let routes = [of_route(of_tenant.most() / 2), of_route(20)];
        let clock = clock();
        let tenants = tenants(nodes, percent, &clock);
        let mut now = Duration::ZERO;
        // Of the tenant, and of each route.
        let mut admitted = [const { Vec::new() }; 3];
        let runtime = Builder::new_current_thread().build().unwrap();
        for act in acts {
            clock.advance(act.pause);
            now += act.pause;
            let route = usize::from(act.cost < 10);
            let limits = [of_tenant.limit(""), routes[route].limit(["large", "small"][route])];
            let tenant = &tenants[act.node % tenants.len()];
            let taken = runtime.block_on(tenant.take(&limits, act.cost)).unwrap();
            if taken.is_admitted() {
                admitted[0].push((now, act.cost));
                admitted[1 + route].push((now, act.cost));
            }
        }
        for (rule, admitted) in [&of_tenant, &routes[0], &routes[1]].into_iter().zip(&admitted) {
            let most = rule.most() + policy.overshoot(rule);
            for (at, _) in admitted {
                prop_assert!(within(admitted, rule.window(), *at) <= most);
            }
        }
    }

    #[test]
    fn what_is_taken_back_is_admitted_no_more_than_once_more(
        nodes in 1_u32..5,
        percent in 5_u8..50,
        rule in rules(),
        acts in acts(true),
    ) {
        let overshoot = policy(nodes).with_percent(percent).overshoot(&rule);
        let run = Run::of(nodes, percent, &rule, &acts);
        for (at, _) in &run.admitted {
            prop_assert!(run.within(rule.window(), *at) <= rule.most() + 2 * overshoot);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(30))]

    #[test]
    fn a_node_alone_under_steady_load_gets_the_limit(
        rule in rules(),
        load in 2_u32..5,
    ) {
        let requests = u32::try_from(rule.most()).unwrap() * load * 5;
        let pause = 5 * rule.window() / requests;
        let act = Act { node: 0, pause, takes_back: false, cost: 1 };
        let run = Run::of(1, 5, &rule, &vec![act; usize::try_from(requests).unwrap()]);
        let admitted = u64::try_from(run.admitted.len()).unwrap();
        prop_assert!(admitted * 100 >= rule.most() * 5 * 95, "{admitted} of {}", rule.most() * 5);
    }
}
