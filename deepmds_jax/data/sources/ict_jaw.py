"""Where the jaw line of iBUG's landmarks runs on ICT-FaceKit's mesh, and where it is seen.

ICT's own landmarks 0-7 and 9-16 are where the cheek turns away in the frontal view, up to 2.6 cm in
front of the mandible's edge.

Found on the mean face: the edge is the ridge between cheek and neck, a few millimetres below its
sharpest line, where the surface faces down as much as to the side; behind the gonion, where the
ridge ends, a smooth curve to 8 mm in front of the ear. The landmarks divide its 18.5 cm from the
height of the eyes to the menton (ICT's own landmark 8) evenly, then move to the nearest vertex.
From each a line runs forward over the cheek, at nearly its own height, up to where the cheek is
seen edge-on at a yaw of about 70 degrees; on the chin it runs up and inwards. The line's vertices
are those nearest to the plane that cuts it; a line with fewer of them repeats the last. The left
side is the mirrored right one.
"""

import numpy as np

# (17, 8) vertices: a row for each landmark, first the mandible's, then 7 over the cheek.
LINES = np.array([
    (8181, 1278, 1883, 1640, 1765, 1637, 1635, 1632),  # 0
    (8135, 1788, 1889, 1050, 2096, 421, 1206, 1155),  # 1
    (8142, 381, 1895, 379, 2095, 2093, 904, 2215),  # 2
    (8860, 1835, 1899, 237, 1666, 938, 409, 506),  # 3
    (755, 1902, 758, 759, 934, 217, 771, 186),  # 4
    (844, 763, 1672, 227, 2202, 271, 474, 445),  # 5
    (1674, 242, 804, 805, 798, 775, 1439, 1501),  # 6
    (1443, 1447, 1498, 796, 880, 963, 963, 963),  # 7
    (966, 962, 963, 964, 968, 8, 7, 10),  # 8
    (3657, 3661, 3712, 3037, 3121, 963, 963, 963),  # 9
    (3881, 2483, 3045, 3046, 3039, 3016, 3653, 3715),  # 10
    (3085, 3004, 3879, 2468, 4393, 2512, 2715, 2686),  # 11
    (2996, 4102, 2999, 3000, 3174, 2458, 3012, 2427),  # 12
    (9183, 4037, 4099, 2478, 3873, 3178, 2650, 2747),  # 13
    (7415, 2622, 4095, 2620, 4289, 4287, 3145, 4406),  # 14
    (7408, 3991, 4089, 3270, 4290, 2662, 3424, 3374),  # 15
    (8456, 3496, 4083, 3849, 3968, 3846, 3844, 3841),  # 16
])
