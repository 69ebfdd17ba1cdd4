// How long an image was looked at: time in which the page was hidden does not count.

export class Clock {
  constructor() {
    this.restart();
    document.addEventListener("visibilitychange", () => (document.hidden ? this.pause() : this.resume()));
  }

  restart() {
    this.total = 0;
    this.since = document.hidden ? null : performance.now();
  }

  pause() {
    this.total = this.milliseconds;
    this.since = null;
  }

  resume() {
    this.since ??= performance.now();
  }

  get milliseconds() {
    return this.total + (this.since === null ? 0 : performance.now() - this.since);
  }

  get seconds() {
    return Math.round(this.milliseconds / 100) / 10;
  }
}
