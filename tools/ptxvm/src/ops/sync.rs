//! Exchanges within a warp.

use super::{Ctx, Done, fault, lanes};
use crate::error::FaultKind;
use crate::isa::{PredSrc, R32, ReduxOp, Reg, Shfl, ShflMode, VoteMode};
use crate::machine::warp::{LANES, Row, Warp};

/// Every lane that executes a `.sync` instruction must name exactly the lanes that execute it with it.
fn members(w: &Warp, mask: u32, members: R32, instruction: &'static str) -> Done {
    let named = w.get(members);
    for l in lanes(mask) {
        if named[l] & w.lanes != mask {
            return Err(fault(l, FaultKind::MemberMask { instruction, members: named[l], mask }));
        }
    }
    Ok(())
}

/// `shfl.sync`
pub fn shfl(w: &mut Warp, mask: u32, s: &Shfl) -> Done {
    members(w, mask, s.members, "shfl")?;
    let (a, b, c) = (w.get(s.a), w.get(s.b), w.get(s.c));
    let (mut out, mut inside) = ([0; LANES], 0u32);
    for l in lanes(mask) {
        let (lane, b) = (l as u32, b[l] & 31);
        let (segment, clamp) = (c[l] >> 8 & 31, c[l] & 31);
        let max = (lane & segment) | (clamp & !segment);
        let (from, ok) = match s.mode {
            ShflMode::Up => (lane.wrapping_sub(b), lane as i32 - b as i32 >= max as i32),
            ShflMode::Down => (lane + b, lane + b <= max),
            ShflMode::Bfly => (lane ^ b, lane ^ b <= max),
            ShflMode::Idx => {
                let from = (lane & segment) | (b & !segment);
                (from, from <= max)
            }
        };
        let from = if ok { from } else { lane };
        if mask >> from & 1 == 0 {
            return Err(fault(l, FaultKind::ShuffleSource { source_lane: from }));
        }
        out[l] = a[from as usize];
        inside |= u32::from(ok) << l;
    }
    w.put(s.d, mask, &out);
    s.p.into_iter().for_each(|p| w.put_pred(p, mask, inside));
    Ok(())
}

/// `vote.sync`
pub fn vote(w: &mut Warp, mask: u32, mode: VoteMode, d: Reg, a: PredSrc, named: R32) -> Done {
    members(w, mask, named, "vote")?;
    let yes = w.pred(a) & mask;
    let holds = match mode {
        VoteMode::All => yes == mask,
        VoteMode::Any => yes != 0,
        VoteMode::Uni => yes == mask || yes == 0,
        VoteMode::Ballot => false,
    };
    match d {
        Reg::R32(d) => w.put(d, mask, &[yes; LANES]),
        Reg::Pred(d) => w.put_pred(d, mask, if holds { u32::MAX } else { 0 }),
        Reg::R64(_) => {}
    }
    Ok(())
}

/// `redux.sync`
pub fn redux(w: &mut Warp, mask: u32, op: ReduxOp, d: R32, a: R32, named: R32) -> Done {
    members(w, mask, named, "redux")?;
    let a: Row = w.get(a);
    let f = |x: u32, y: u32| match op {
        ReduxOp::Add => x.wrapping_add(y),
        ReduxOp::MinU => x.min(y),
        ReduxOp::MinS => (x as i32).min(y as i32) as u32,
        ReduxOp::MaxU => x.max(y),
        ReduxOp::MaxS => (x as i32).max(y as i32) as u32,
        ReduxOp::And => x & y,
        ReduxOp::Or => x | y,
        ReduxOp::Xor => x ^ y,
    };
    let all = lanes(mask).map(|l| a[l]).reduce(f).unwrap_or(0);
    w.put(d, mask, &[all; LANES]);
    Ok(())
}

/// `bar.warp.sync`: orders the warp's lanes.
pub fn bar_warp(w: &Warp, mask: u32, named: R32, ctx: &mut Ctx<'_, '_>) -> Done {
    members(w, mask, named, "bar.warp.sync")?;
    if let Some(race) = &mut ctx.shared.race
        && mask == w.lanes
    {
        race.sync_warp(ctx.warp);
    }
    if let Some(order) = &mut ctx.order
        && mask == w.lanes
    {
        order.sync_warp(ctx.warp);
    }
    Ok(())
}
