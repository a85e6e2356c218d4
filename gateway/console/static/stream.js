// The one stream of snapshots, kept up: broken or silent, it is opened anew.

const SILENT = 6000;
const FIRST = 1000;
const LONGEST = 15000;

export class Stream {
  /** `heard(snapshot)` with each one; `lost(since)` once it is broken, by this machine's clock. */
  constructor(url, heard, lost) {
    this.url = url;
    this.heard = heard;
    this.lost = lost;
    this.last = null;
    this.pause = FIRST;
    this.open();
    setInterval(() => this.look(), 1000);
    // A laptop that slept, or a phone that was elsewhere: at once, not in a while.
    document.addEventListener("visibilitychange", () => {
      if (!document.hidden && this.isSilent()) this.again(0);
    });
  }

  open() {
    this.source = new EventSource(this.url);
    this.begun = Date.now();
    this.source.addEventListener("snapshot", (event) => {
      this.last = Date.now();
      this.pause = FIRST;
      this.heard(JSON.parse(event.data));
    });
    this.source.addEventListener("error", () => {
      this.lost(this.last);
      this.again(this.pause);
    });
  }

  isSilent() {
    return Date.now() - Math.max(this.last ?? 0, this.begun) > SILENT;
  }

  look() {
    if (this.source !== null && this.isSilent()) {
      this.lost(this.last);
      this.again(0);
    }
  }

  again(wait) {
    this.source?.close();
    this.source = null;
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.open(), wait);
    this.pause = Math.min(LONGEST, this.pause * 1.6);
  }
}
