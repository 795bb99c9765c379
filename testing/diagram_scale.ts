/**
 * Where moments stand in a diagram: {@linkcode Scale}.
 *
 * @module
 */

import type { DiagramData } from "./diagram_data.ts";

/** The height of a line of text, in pixels. */
export const LINE = 14;

/**
 * Time goes down. A pause of a minute is not sixty times as high as one of a
 * second: heights grow with the logarithm, and texts of one lane do not overlap.
 */
export class Scale {
  readonly #places = new Map<number, number>();
  readonly #rows = new Map<number, number>();
  readonly moments: readonly number[];
  readonly height: number;

  constructor({ arrows, notes, bands, from, to }: DiagramData, top: number) {
    const times = new Set([from, to]);
    for (const { sent, end } of arrows) {
      times.add(Math.max(sent, from)).add(end);
    }
    for (const { time } of notes) times.add(time);
    for (const band of bands) times.add(Math.max(band.from, from)).add(band.to);
    this.moments = [...times].sort((a, b) => a - b);
    const notesAt = Map.groupBy(notes, ({ time }) => time);
    const free = new Map<number, number>();
    let y = top;
    let before = this.moments[0]!;
    for (const time of this.moments) {
      y += time === before ? 0 : 3 + 4 * Math.log2(1 + time - before);
      before = time;
      const here = notesAt.get(time) ?? [];
      // The scenario's texts cross all lanes.
      const isWide = here.some(({ lane }) => lane < 0);
      const taken = isWide
        ? [...free.values()]
        : here.map(({ lane }) => free.get(lane) ?? 0);
      y = Math.max(y, free.get(-1) ?? 0, ...taken);
      this.#places.set(time, y);
      for (const { lane } of here) {
        free.set(lane, Math.max(free.get(lane) ?? 0, y) + LINE);
      }
    }
    this.height = Math.max(y, ...free.values()) + 2 * LINE;
  }

  /** The height of a moment; moments before the first one are at its place. */
  at(time: number): number {
    return this.#places.get(time) ?? this.#places.get(this.moments[0]!)!;
  }

  /** The height of the next text of a lane at a moment. */
  nextRow(lane: number, time: number): number {
    const y = Math.max(this.at(time), (this.#rows.get(lane) ?? -LINE) + LINE);
    this.#rows.set(lane, y);
    return y;
  }
}
