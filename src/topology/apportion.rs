//! Whole numbers in proportion to shares.

use std::cmp::Reverse;

/// `total` shared out in proportion to `shares` by largest remainders, nobody getting more than there is `room` for;
/// what a full one cannot take goes to the others in turn. The sum is `total` unless that exceeds the room of all.
pub(super) fn apportion(total: usize, shares: &[u64], room: &[usize]) -> Vec<usize> {
    let sum = shares.iter().map(|&share| u128::from(share)).sum::<u128>().max(1);
    let exact = |share: u64| u128::from(share) * total as u128;
    let mut counts: Vec<usize> =
        shares.iter().zip(room).map(|(&share, &room)| ((exact(share) / sum) as usize).min(room)).collect();
    let mut order: Vec<usize> = (0..shares.len()).collect();
    order.sort_by_key(|&index| (Reverse(exact(shares[index]) % sum), index));
    let mut left = total.saturating_sub(counts.iter().sum());
    while left > 0 && counts.iter().zip(room).any(|(count, room)| count < room) {
        for &index in &order {
            if left > 0 && counts[index] < room[index] {
                counts[index] += 1;
                left -= 1;
            }
        }
    }
    counts
}

/// Shares that are not negative, as whole ones of the same proportions to 32 bits of the largest.
pub(super) fn whole_shares(shares: &[f64]) -> Vec<u64> {
    let largest = shares.iter().copied().fold(0.0, f64::max);
    let scale = if largest > 0.0 { f64::from(u32::MAX) / largest } else { 0.0 };
    shares.iter().map(|share| (share * scale).round() as u64).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn everything_is_shared_out_and_nobody_gets_more_than_fits(
            parties in prop::collection::vec((0.0..1e3_f64, 0_usize..50), 1..8),
            part in 0.0..1.0_f64,
        ) {
            let (shares, room): (Vec<f64>, Vec<usize>) = parties.into_iter().unzip();
            let total = (room.iter().sum::<usize>() as f64 * part) as usize;
            let counts = apportion(total, &whole_shares(&shares), &room);
            prop_assert_eq!(counts.iter().sum::<usize>(), total);
            prop_assert!(counts.iter().zip(&room).all(|(count, room)| count <= room));
        }

        #[test]
        fn where_there_is_room_nobody_is_a_whole_link_from_his_share(
            shares in prop::collection::vec(0_u64..1000, 1..8),
            total in 0_usize..1000,
        ) {
            prop_assume!(shares.iter().sum::<u64>() > 0);
            let counts = apportion(total, &shares, &vec![total; shares.len()]);
            let sum = shares.iter().sum::<u64>() as f64;
            for (count, share) in counts.iter().zip(&shares) {
                let exact = *share as f64 / sum * total as f64;
                prop_assert!((*count as f64 - exact).abs() < 1.0 + 1e-9, "{} for {}", count, exact);
            }
        }
    }

    #[test]
    fn shares_of_nothing_are_equal() {
        assert_eq!(apportion(7, &whole_shares(&[0.0, 0.0, 0.0]), &[9, 9, 9]), [3, 2, 2]);
    }
}
