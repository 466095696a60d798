//! Asynchronous copies from global to shared memory.

use super::memory::{check_align, check_waited, check_written, locate};
use super::{Ctx, Done, cta_fault, fault, lanes, shared_fault};
use crate::check::cost;
use crate::isa::CpAsync;
use crate::machine::warp::{Copy, CopyGroup, LANES, Warp};

/// `cp.async`: checked now, done at the wait.
pub fn cp_async(w: &mut Warp, mask: u32, c: &CpAsync, ctx: &mut Ctx<'_, '_>) -> Done {
    let (to, from) = (w.addresses(c.dst), w.addresses(c.src));
    let sizes = c.src_size.map_or([c.size; LANES], |r| w.get(r));
    let ignored = c.ignore.map_or(0, |p| w.pred(p));
    let (access, size) = ("cp.async from global", c.size);
    check_waited(w, mask, &from, access)?;
    let mut reading = 0;
    for l in lanes(mask) {
        let dst = ctx.shared.offset(to[l], size, size, "cp.async to shared").map_err(|k| fault(l, k))?;
        let src_size = if ignored >> l & 1 == 1 { 0 } else { sizes[l].min(size) };
        check_align(l, from[l], size, access)?;
        if src_size > 0 {
            let (buffer, offset) = locate(ctx, &mut w.hint, l, from[l], (src_size, size), access)?;
            check_written(ctx, buffer, offset, src_size, l, access)?;
            ctx.check_read(l, (w.hint, offset), src_size, false).map_err(|c| cta_fault(l, from[l], "read", c))?;
            reading |= 1 << l;
        }
        if ctx.full {
            let by = ctx.thread(l);
            ctx.shared.take_off(dst, size, by).map_err(|e| shared_fault(l, e))?;
        }
        w.uncommitted.push(Copy { dst, src: from[l], size, src_size, lane: l as u8 });
    }
    if ctx.full {
        cost::shared(ctx.tally, mask, &to, size);
        cost::global(ctx.tally, reading, &from, size);
    }
    Ok(())
}

/// `cp.async.commit_group`
pub fn commit(w: &mut Warp, mask: u32) {
    let mut group = w.spare.pop().unwrap_or_default();
    group.mask = mask;
    group.copies.clear();
    w.uncommitted.retain(|copy| {
        let mine = mask >> copy.lane & 1 == 1;
        if mine {
            group.copies.push(*copy);
        }
        !mine
    });
    w.committed.push_back(group);
}

/// `cp.async.wait_group` and `wait_all`: the copies of the oldest groups arrive.
pub fn wait(w: &mut Warp, mask: u32, keep: u32, all: bool, ctx: &mut Ctx<'_, '_>) -> Done {
    if all {
        commit(w, mask);
    }
    let keep = keep as usize;
    if w.committed.iter().all(|g| g.mask == mask) {
        while w.committed.len() > keep {
            let Some(group) = w.committed.pop_front() else { break };
            for copy in &group.copies {
                land(w, copy, ctx)?;
            }
            w.spare.push(group);
        }
        return Ok(());
    }
    wait_by_lane(w, mask, keep, ctx)
}

/// Groups are a thread's own: lanes that committed apart have different ones.
fn wait_by_lane(w: &mut Warp, mask: u32, keep: usize, ctx: &mut Ctx<'_, '_>) -> Done {
    let mut groups = std::mem::take(&mut w.committed);
    for l in lanes(mask) {
        let own = groups.iter().filter(|g| g.mask >> l & 1 == 1).count();
        for group in groups.iter_mut().filter(|g| g.mask >> l & 1 == 1).take(own.saturating_sub(keep)) {
            group.mask &= !(1 << l);
            for copy in group.copies.iter().filter(|c| usize::from(c.lane) == l) {
                land(w, copy, ctx)?;
            }
            group.copies.retain(|c| usize::from(c.lane) != l);
        }
    }
    groups.retain(|g: &CopyGroup| g.mask != 0);
    w.committed = groups;
    Ok(())
}

fn land(w: &mut Warp, copy: &Copy, ctx: &mut Ctx<'_, '_>) -> Done {
    let mut words = [0u32; 4];
    if copy.src_size > 0 {
        let lane = usize::from(copy.lane);
        let access = (copy.src_size, copy.size);
        let (buffer, offset) = locate(ctx, &mut w.hint, lane, copy.src, access, "cp.async from global")?;
        for (k, word) in words.iter_mut().enumerate() {
            let left = copy.src_size.saturating_sub(4 * k as u32).min(4);
            if left > 0 {
                let keep = ((1u64 << (8 * left)) - 1) as u32;
                *word = buffer.word(offset + 4 * k as u64) & keep;
            }
        }
    }
    for k in 0..copy.size / 4 {
        ctx.shared.set_word(copy.dst + 4 * k, words[k as usize]);
    }
    if ctx.full {
        let by = ctx.thread(usize::from(copy.lane));
        ctx.shared.land(copy.dst, copy.size, by);
    }
    Ok(())
}
