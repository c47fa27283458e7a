// Picks the point of the grid that the controls name, and moves all panels there.
const [kappas, ws_count] = counts
const place = (choices.T.active * kappas + choices.kappa.active) * ws_count + choices.w.active
const one = data[place], at = signal.value, ratio = ratios[at]
const mirror = (x, y) => [[...x].reverse().map(v => -v).concat(x), [...y].reverse().concat(y)]
let largest = 0
for (const kind of ["rnn", "dnn"]) {
  const network = one[kind][at], steps = network.outputs.length
  const t = network.kernel.map((_, i) => Math.floor(i / steps)), s = network.kernel.map((_, i) => i % steps)
  largest = Math.max(largest, ...network.kernel.map(Math.abs))
  sources[kind + "_kernel"].data = {t, s, value: network.kernel}
  sources[kind + "_eigenvalues"].data = {re: network.re, im: network.im}
  sources[kind + "_outputs"].data = {t: network.outputs.map((_, i) => i + 1), f: network.outputs}
}
mapper.low = -largest
mapper.high = largest
const steps = one.rnn[at].outputs.length, lambda = ratio * one.critical
sources.target.data = {t: [steps], y: [Math.sqrt(lambda)]}
sources.disc.data = {radius: [Math.sqrt(ws[choices.w.active])]}
const [m, action] = mirror(one.grid, one.action[at])
sources.landau.data = {m, action}
const lowest = one.order[at]
const nearest = one.grid.reduce((best, v, i) => Math.abs(v - lowest) < Math.abs(one.grid[best] - lowest) ? i : best, 0)
sources.minimum.data = {m: [-lowest, lowest], action: [one.action[at][nearest], one.action[at][nearest]]}
const pick = wanted => ({ratio: one.ratio.map((v, i) => one.stable[i] === wanted ? v : NaN), m: one.m})
sources.stable.data = pick(true)
sources.unstable.data = pick(false)
sources.present.data = {ratio: [ratio], m: [lowest]}
words.text = `<p style="font: 1rem system-ui">λ = ${lambda.toPrecision(4)} = ${ratio} λ_c, `
  + `λ_c = ${one.critical.toPrecision(4)}, m = ${lowest.toPrecision(3)}</p>`
