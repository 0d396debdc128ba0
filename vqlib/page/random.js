"use strict";

// The first numbers in [0, 1) that `torch.rand` draws for a seed, in float64. They come from the
// Mersenne Twister (Matsumoto and Nishimura 1998), two of its words for each.
function seeded(seed, count) {
  const state = new Uint32Array(624);
  state[0] = seed;
  for (let i = 1; i < 624; i++) {
    state[i] = Math.imul(1812433253, state[i - 1] ^ (state[i - 1] >>> 30)) + i;
  }
  let at = 624;

  function twist() {
    for (let i = 0; i < 624; i++) {
      const y = (state[i] & 0x80000000) | (state[(i + 1) % 624] & 0x7fffffff);
      state[i] = state[(i + 397) % 624] ^ (y >>> 1) ^ (y & 1 ? 0x9908b0df : 0);
    }
    at = 0;
  }

  function word() {
    if (at === 624) twist();
    let y = state[at++];
    y ^= y >>> 11;
    y ^= (y << 7) & 0x9d2c5680;
    y ^= (y << 15) & 0xefc60000;
    return (y ^ (y >>> 18)) >>> 0;
  }

  return Float64Array.from({ length: count }, () => {
    const high = word() & 0x1fffff; // 53 bits are left
    return (high * 2 ** 32 + word()) / 2 ** 53;
  });
}

function any(count) {
  return Math.floor(Math.random() * count);
}

function shuffle(codes) {
  for (let i = codes.length - 1; i > 0; i--) {
    const k = any(i + 1);
    [codes[i], codes[k]] = [codes[k], codes[i]];
  }
}

// A standard normal number, by the method of Box and Muller.
function gaussian() {
  const radius = Math.sqrt(-2 * Math.log(1 - Math.random()));
  return radius * Math.cos(2 * Math.PI * Math.random());
}
