"""From a received file to checked figures: reading, layout, contract, report. Rejects a delivery only as a whole."""
