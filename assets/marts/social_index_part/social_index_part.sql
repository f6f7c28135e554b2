SELECT
    c.index_id, c.area_id, c.reference_date, f.indicator_id, c.area_level, CAST(c.reference_date AS VARCHAR) AS period,
    f.indicator_reference_date, f.value, CAST(f.direction AS INTEGER) AS direction, f.weight,
    ss.mean AS universe_mean, ss.sd AS universe_sd, sz.z AS z_score,
    f.change, ds.mean AS change_mean, ds.sd AS change_sd, dz.z AS change_z_score,
    coalesce(s.in_universe, FALSE) AS in_universe, coalesce(d.in_universe, FALSE) AS in_dynamics_universe
FROM index_candidate AS c
JOIN index_figure AS f ON f.index_id = c.index_id AND f.of_year = c.of_year AND f.area_id = c.area_id
LEFT JOIN index_input AS s
    ON s.index_id = c.index_id AND s.of_year = c.of_year AND s.area_id = c.area_id AND s.indicator_id = f.indicator_id
    AND s.dimension = 'status'
LEFT JOIN index_input AS d
    ON d.index_id = c.index_id AND d.of_year = c.of_year AND d.area_id = c.area_id AND d.indicator_id = f.indicator_id
    AND d.dimension = 'dynamics'
LEFT JOIN index_spread AS ss
    ON ss.index_id = c.index_id AND ss.of_year = c.of_year AND ss.indicator_id = f.indicator_id
    AND ss.dimension = 'status'
LEFT JOIN index_spread AS ds
    ON ds.index_id = c.index_id AND ds.of_year = c.of_year AND ds.indicator_id = f.indicator_id
    AND ds.dimension = 'dynamics'
LEFT JOIN index_score AS sz
    ON sz.index_id = c.index_id AND sz.of_year = c.of_year AND sz.area_id = c.area_id
    AND sz.indicator_id = f.indicator_id AND sz.dimension = 'status'
LEFT JOIN index_score AS dz
    ON dz.index_id = c.index_id AND dz.of_year = c.of_year AND dz.area_id = c.area_id
    AND dz.indicator_id = f.indicator_id AND dz.dimension = 'dynamics'
WHERE c.reported
