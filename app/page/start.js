// Runs before the first paint: applies the chosen theme, and takes the token out of the address.
(function () {
  'use strict';
  const root = document.documentElement;
  let remembered = null; // where the browser refuses storage, as in some frames

  const read = (store, key) => { try { return window[store].getItem(key); } catch { return null; } };
  const write = (store, key, value) => { try { window[store].setItem(key, value); } catch { /* refused */ } };

  /** Moves `token=` from the fragment to the session. Returns whether there was one. */
  function takeToken() {
    const parts = location.hash.slice(1).split('&');
    const token = parts.find((part) => part.startsWith('token='));
    if (!token) return false;
    remembered = decodeURIComponent(token.slice('token='.length));
    write('sessionStorage', 'eigenlens-token', remembered);
    const rest = parts.filter((part) => part && !part.startsWith('token=')).join('&');
    history.replaceState(null, '', location.pathname + location.search + (rest ? `#${rest}` : ''));
    return true;
  }

  function setTheme(theme) {
    root.dataset.theme = theme;
    write('localStorage', 'eigenlens-theme', theme);
  }

  window.eigenlens = {
    takeToken,
    token: () => remembered ?? read('sessionStorage', 'eigenlens-token'),
    setToken(token) {
      remembered = token;
      write('sessionStorage', 'eigenlens-token', token);
    },
    theme: () => root.dataset.theme,
    setTheme,
  };
  const theme = read('localStorage', 'eigenlens-theme');
  root.dataset.theme = ['light', 'dark'].includes(theme) ? theme : 'auto';
  if (/(^|[#&])embed=1(&|$)/.test(location.hash)) root.classList.add('embed');
  takeToken();
})();
