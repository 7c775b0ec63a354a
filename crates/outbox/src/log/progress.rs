//! How far a worker is with the tenants of some parts.

use std::fmt;
use std::str::FromStr;

use tenantry_core::TenantId;
use tenantry_store::ValueError;

use super::Position;

/// How far parts are: with most tenants, and with those that have lanes of their own.
///
/// Tenants that have much to hand over get a lane, whose position is behind that of the others meanwhile, so that
/// nobody waits behind their backlog. Stored as text, `position` and for each lane `~tenant,tenant=position`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(crate) struct Progress {
    /// With all tenants that have no lane.
    pub(crate) rest: Position,
    pub(crate) lanes: Vec<Lane>,
}

/// Tenants whose messages are handed over beside those of the others.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Lane {
    pub(crate) tenants: Vec<TenantId>,
    pub(crate) position: Position,
}

/// Whose messages are read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Share {
    pub(crate) tenants: Vec<TenantId>,
    /// Whether those of these tenants, or those of all the others.
    pub(crate) is_theirs: bool,
}

impl Progress {
    /// Returns each position, with the tenants that it is of.
    pub(crate) fn parts(&self) -> impl Iterator<Item = (Share, &Position)> {
        let of_lane = |lane: &Lane| Share {
            tenants: lane.tenants.clone(),
            is_theirs: true,
        };
        let lanes = self.lanes.iter();
        std::iter::once((self.share_of_rest(), &self.rest))
            .chain(lanes.map(move |lane| (of_lane(lane), &lane.position)))
    }

    /// Returns who has no lane.
    pub(crate) fn share_of_rest(&self) -> Share {
        let tenants = self.lanes.iter().flat_map(|lane| &lane.tenants);
        Share {
            tenants: tenants.copied().collect(),
            is_theirs: false,
        }
    }

    /// Ends the lanes that are as far as the others; true if there were some.
    pub(crate) fn join_lanes(&mut self) -> bool {
        let before = self.lanes.len();
        let rest = &mut self.rest;
        self.lanes.retain(|lane| {
            let is_abreast = rest.is_closed() && lane.position.is_aligned(rest);
            if is_abreast && lane.position.floor() < rest.floor() {
                // What the lower one leads over is seen to have left by its transaction.
                *rest = lane.position.clone();
            }
            !is_abreast
        });
        self.lanes.len() < before
    }
}

impl fmt::Display for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.rest.fmt(f)?;
        for lane in &self.lanes {
            let mut separator = "~";
            for tenant in &lane.tenants {
                write!(f, "{separator}{tenant}")?;
                separator = ",";
            }
            write!(f, "={}", lane.position)?;
        }
        Ok(())
    }
}

const NO_LANE: ValueError = ValueError::new("has a lane that is none of this release");

impl FromStr for Progress {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let mut parts = text.split('~');
        let rest = parts.next().unwrap_or_default().parse()?;
        let lanes = parts.map(|lane| {
            let (tenants, position) = lane.split_once('=').ok_or(NO_LANE)?;
            let tenants = tenants
                .split(',')
                .map(|tenant| tenant.parse().map_err(|_| NO_LANE));
            Ok(Lane {
                tenants: tenants.collect::<Result<_, ValueError>>()?,
                position: position.parse()?,
            })
        });
        Ok(Self {
            rest,
            lanes: lanes.collect::<Result<_, ValueError>>()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenant(id: u128) -> TenantId {
        TenantId::from_u128(id).unwrap()
    }

    #[test]
    fn progress_is_written_as_it_was_and_read_again() {
        let mut progress = Progress::default();
        progress.rest.open("740:748:741,745", Some(20));
        progress.rest.advance(17);
        progress.lanes.push(Lane {
            tenants: vec![tenant(1), tenant(0xab)],
            position: progress.rest.clone(),
        });
        progress.rest.close();
        let text = "740:748:741,745||0|20|?|20\
            ~00000000-0000-0000-0000-000000000001,00000000-0000-0000-0000-0000000000ab\
            =1:1:|740:748:741,745|17|0|?|20";
        assert_eq!(progress.to_string(), text);
        assert_eq!(text.parse(), Ok(progress.clone()));
        assert_eq!("".parse(), Ok(Progress::default()));
        for wrong in [
            "~",
            "~x=1:1:||0|0|",
            "1:1:||0|0|~00000000-0000-0000-0000-000000000001",
        ] {
            assert!(wrong.parse::<Progress>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_lane_ends_where_it_is_abreast_and_the_lower_floor_counts() {
        let mut progress = Progress::default();
        progress.rest.open("740:748:", Some(20));
        progress.lanes.push(Lane {
            tenants: vec![tenant(1)],
            position: progress.rest.clone(),
        });
        assert!(!progress.join_lanes(), "both are on their way");
        progress.rest.close();
        assert!(!progress.join_lanes(), "the lane is behind");
        // Its end was stored before there was one.
        progress.lanes[0].position = "1:1:|740:748:|15|0|?".parse().unwrap();
        progress.lanes[0].position.close();
        assert!(progress.join_lanes());
        assert!(progress.lanes.is_empty());
        assert_eq!(
            (progress.rest.after(), progress.rest.floor()),
            ("740:748:", 15)
        );
    }
}
