// The page: one stream in, each panel told of it. What is large is fetched when it has changed.

import { at, text } from "./dom.js";
import { clock } from "./format.js";
import { Stream } from "./stream.js";
import { place } from "./colours.js";
import { followTheme } from "./colour-scheme.js";
import * as glance from "./glance.js";
import * as branches from "./branches.js";
import * as traffic from "./traffic.js";
import * as experiment from "./experiment.js";
import * as drift from "./drift.js";
import * as timeline from "./timeline.js";
import * as pushes from "./pushes.js";
import { listen } from "./explain.js";

let newest = null;
let announced = null;

function heard(snapshot) {
  newest = snapshot;
  const now = Date.parse(snapshot.at);
  place(snapshot.branches.map((one) => one.name), snapshot.baseline);
  at("live").dataset.state = "live";
  text(at("live-text"), `Live ${clock(now)}`);
  at("stale").hidden = true;
  for (const panel of [glance, branches, traffic, experiment, drift, timeline, pushes]) {
    try {
      panel.update(snapshot, now);
    } catch (error) {
      console.error(error); // one panel's trouble is not the others'
    }
  }
  const state = `${snapshot.health.headline}. ${snapshot.health.sentences[0] ?? ""}`;
  if (announced !== null && announced !== state) text(at("announcements"), state);
  announced = state;
  document.title = snapshot.health.tone === "good" ? "Branch gateway" : `${snapshot.health.headline} – Branch gateway`;
}

function lost() {
  at("live").dataset.state = "stale";
  text(at("live-text"), "Not connected");
  const since = newest === null ? "Nothing has been heard yet" : `All figures are as of ${clock(newest.at)}`;
  text(at("stale"), `The gateway does not answer. ${since}; trying again.`);
  at("stale").hidden = false;
}

listen();
followTheme(() => {
  traffic.redraw();
  experiment.redraw();
});
new Stream("console/events", heard, lost);
